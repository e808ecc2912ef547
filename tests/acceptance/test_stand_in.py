"""`nfresume launch` stands in for `nextflow run`: for each case both run, and give the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.conftest import run_plain
from tests.conftest import BIN, Done, Site, first, snapshot, until

pytestmark = pytest.mark.slow

SHOW = """\
params.x = null
params.outdir = 'results'
process WRITE {
    publishDir params.outdir, mode: 'copy'
    output: path 'x.txt'
    script: "printf '%s' '${params.x}' > x.txt"
}
workflow {
    println "params ${params.collect { k, v -> "$k=$v (${v.getClass().simpleName})" }}"
    println "args ${args} cpus ${workflow.session.config.process?.cpus} ${workflow.profile}"
    WRITE()
}
"""


#: Fails at its last task until there is a file `ok`.
TWO_STEPS = """\
params.x = 0
process FIRST { publishDir 'results', mode: 'copy'; output: path 'a'; script: "echo first ${params.x} > a" }
process LAST {
    publishDir 'results', mode: 'copy'
    input: path 'in'
    output: path 'b'
    script: "ls > b; [ -e $launchDir/ok ]"
}
workflow { LAST(FIRST()) }
"""
OK = {"ok": ""}
EXEC = """\
process WRITE { input: val v; output: path 'w.json'; exec: task.workDir.resolve('w.json').text = v }
process LAST { publishDir 'results', mode: 'copy'; input: path w; output: path 'b'
    script: "cat $w > b; [ -e $launchDir/ok ]" }
workflow { LAST(WRITE('x')) }
"""
MODES = """\
process COPIED { publishDir 'copied', mode: 'copy'; output: path 'd'
    script: "mkdir d; echo > d/x; echo > d/y; chmod 750 d; chmod 640 d/x; chmod 755 d/y" }
process LINKED { publishDir 'linked/deep'; output: path 'd'; output: path 'f'
    script: "mkdir d; echo > d/x; echo > f; chmod 750 d; chmod 640 d/x; chmod 600 f" }
process MOVED { publishDir 'moved', mode: 'move'; output: path 'f'; script: "echo > f; chmod 444 f" }
workflow { COPIED(); LINKED(); MOVED() }
"""
STUBS = """\
process FIRST { output: path 'a'; script: 'echo real > a'; stub: 'echo stub > a' }
process LAST { publishDir 'results', mode: 'copy'; input: path x; output: path 'b'
    script: "cat $x > b; [ -e $launchDir/ok ]"; stub: "cat $x > b; [ -e $launchDir/ok ]" }
workflow { LAST(FIRST()) }
"""
NAMES = """\
process A {
    publishDir 'copied', mode: 'copyNoFollow'
    publishDir 'ö ut/links', mode: 'rellink'
    output: path '*'
    script: "mkdir dir; ln -s dir dir_link; touch file; ln -s file file_link; touch 'fi le' 'grün' 'b(c)'"
}
workflow { A() }
"""
ENDS = """\
workflow CREATE { error 'Oops!' }
workflow { CREATE() }
workflow.onComplete { file('end.txt').text = "${workflow.success} ${workflow.exitStatus}" }
workflow.onError { file('error.txt').text = "${workflow.errorMessage}" }
"""
#: What they say goes to files: its place among Nextflow's lines on standard output is a matter of chance.
HANDLERS = """\
workflow.onError { file('error.txt').text = "${workflow.errorMessage} ${workflow.exitStatus}" }
workflow.onComplete { file('end.txt').text = "${workflow.success} ${workflow.resume} ${workflow.profile}" }
process A { script: "echo said; exit 3" }
workflow { A() }
"""
#: As pipelines do that publish the log with their results.
REPORTS = """\
process BACKUP { publishDir 'results', mode: 'copy'; input: path log; output: path "$log"; path 'info'
    script: "test -s $log && echo found > info; sed -i /./d $log" }
workflow { BACKUP(file("$launchDir/.nextflow.log")) }
workflow.onComplete { file("$launchDir/end.txt").text = file("$launchDir/.nextflow.log").size() > 0 }
"""


@dataclass
class Case:
    """A command line, and what stands on standard input, in the launch dir and in the environment.

    `then`: further command lines, each with the files that are written before it. `before`: words in front of
    `run` and `launch`. `long`: not run by `make test`; `test_reading` compares how words are read anyhow.
    """

    words: list[str]
    before: tuple[str, ...] = ()
    stdin: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    umask: int = 0o022
    then: tuple[tuple[list[str], dict[str, str]], ...] = ()
    long: bool = False


CASES = {
    "a value with blanks (nextflow#5376)": Case(
        ["main.nf", "--x", "-q 20 -u 3", "--outdir", "res1"], long=True),
    "negative numbers": Case(["main.nf", "--x", "-5", "--y", "-1.5e3"], long=True),
    "a joined value": Case(["main.nf", "--x=-resume", "--outdir=a b"], long=True),
    "a flag, and a flag at the end": Case(["main.nf", "--flag", "--x"], long=True),
    "process options": Case(
        ["main.nf", "-process.cpus", "1", "-executor.queueSize", "5", "-e.A=b"], long=True),
    "options before the pipeline": Case(["-profile", "standard", "main.nf", "--x", "1"], long=True),
    "a quiet run": Case(["main.nf", "--x", "1"], ("-q",), long=True),
    "a log and a configuration before the verb": Case(
        ["main.nf", "--x", "1"], ("-log", ".nextflow mine.log", "-C", "only.config"),
        files={"only.config": "params.y = 'only'\n"}, long=True),
    "a stub before the pipeline": Case(["-stub", "main.nf", "--x", "1"], long=True),
    "a stub at the end": Case(["main.nf", "--x", "1", "-stub"], long=True),
    "further words": Case(["main.nf", "first", "--x", "1", "second"], long=True),
    "an empty word": Case(["main.nf", "--x", "", "y"], long=True),
    "a parameter equal to the pipeline": Case([".", "--outdir", "."], long=True),
    "the same option twice": Case(["main.nf", "-profile", "a", "-profile", "b"], long=True),
    "an unknown option": Case(["main.nf", "-nonsense", "1"]),
    "an unknown profile": Case(["main.nf", "-profile", "nonsense"], files={"nextflow.config": ""}, long=True),
    "dumped channels": Case(["main.nf", "-dump-channels", "NAME", "--x", "1"], long=True),
    "nested parameters": Case(["main.nf", "--a.b", "1", "--a.c", "2", "--max-memory", "4.GB"], long=True),
    "a params file and a parameter": Case(
        ["main.nf", "-params-file", "p.json", "--y", "2"], files={"p.json": '{"x": "é", "y": 1}'}, long=True),
    "a params file that Nextflow takes for JSON": Case(
        ["main.nf", "-params-file", "p.json"],
        files={"p.json": '{"x": "a\tb", "title": "t", "nested": {"name": "nextflow#2091"},}'}, long=True),
    "parameters with dots (nextflow#2023)": Case(
        ["main.nf", "-params-file", "p.yml", "--on=false", "--c.on=false"], long=True,
        files={"p.yml": "a.on: false\nb: {on: false}\n",
               "nextflow.config": "params { on = true\n a.on = true\n b.on = true\n c.on = true }"}),
    "configuration with includes": Case(
        ["main.nf", "-c", "a.config,b.config", "--x", "1"],
        files={"a.config": "includeConfig 'more/c.config'\n", "b.config": "params.b = 2\n",
               "more/c.config": "params.c = 3\n"}, long=True),
    "a configuration that reads PWD": Case(
        ["main.nf"], files={"nextflow.config": 'params.y = "$PWD/data"'}, long=True),
    "only this configuration": Case(
        ["main.nf", "-C", "only.config"], long=True,
        files={"only.config": "params.x = 'only'\ncleanup = true\n"}),
    "a script from standard input": Case(["-", "--x", "1"], stdin=SHOW),
    "a pipeline that reads standard input": Case(
        ["read.nf"], stdin=">a\nACGT\n",
        files={"read.nf": "workflow { println \"read ${System.in.text}\" }"}),
    "an error of its own": Case(["e.nf"], files={"e.nf": "workflow { error 'no --input given' }"}, long=True),
    "a script that is not there": Case(["nothing.nf"]),
    "two dashes (nf-core/chipseq#131)": Case(["main.nf", "--resume", "--profile", "a"], long=True),
    "no entry workflow (nextflow#4900)": Case(
        ["e.nf"], files={"e.nf": "workflow HELLO { println 1 }"}, long=True),
    "exit 42": Case(["e.nf"], files={"e.nf": "workflow { System.exit(42) }"}),
    "a failure, and -resume": Case(["a.nf"], files={"a.nf": TWO_STEPS}, then=((["a.nf", "-resume"], OK),)),
    "-resume of a failure that fails again": Case(
        ["a.nf", "--x", "1"], files={"a.nf": TWO_STEPS},
        then=((["a.nf", "--x", "1", "-resume"], {}), (["a.nf", "--x", "2", "-resume"], OK))),
    "-resume with an edited script": Case(
        ["a.nf"], files={"a.nf": TWO_STEPS},
        then=((["a.nf", "-resume"], {**OK, "a.nf": TWO_STEPS.replace("echo first", "echo edited")}),)),
    "-resume with another name of an input (nextflow#4106)": Case(
        ["a.nf"], files={"a.nf": TWO_STEPS},
        then=((["a.nf", "-resume"], {**OK, "a.nf": TWO_STEPS.replace("'in'", "'other'")}),)),
    "-resume of an exec process (nextflow#3962)": Case(
        ["a.nf"], files={"a.nf": EXEC}, then=((["a.nf", "-resume"], OK),)),
    "modes of results under umask 077": Case(["m.nf"], files={"m.nf": MODES}, umask=0o077),
    "modes of results under umask 002": Case(["m.nf"], files={"m.nf": MODES}, umask=0o002),
    "LANG=C and a dumb terminal": Case(
        ["é.nf", "--x", "grüße"], files={"é.nf": SHOW}, long=True,
        env={"LC_ALL": "C", "LANG": "C", "TERM": "dumb"}),
    "odd names": Case(["my pipe [1]/main (x).nf", "--outdir", "out $HOME `id`; *"],
                      files={"my pipe [1]/main (x).nf": SHOW}),
    "handlers at the end": Case(["h.nf"], files={"h.nf": HANDLERS}),
    "a stub run, and what it leaves for -resume (nextflow#5446)": Case(
        ["a.nf", "-stub"], files={"a.nf": STUBS}, then=((["a.nf", "-resume"], OK),)),
    "links and odd names as results (nextflow#658, nextflow#4778)": Case(
        ["a.nf"], files={"a.nf": NAMES}, long=True),
    "an error in a workflow, and its handlers (nextflow#3129)": Case(
        ["a.nf"], files={"a.nf": ENDS}, long=True),
    "a report on Nextflow's log": Case(["a.nf"], files={"a.nf": REPORTS}, long=True),
    "an entry that is not there (nextflow#5811)": Case(
        ["a.nf", "-entry", "foo"], files={"a.nf": "workflow { println 1 }"}, long=True),
}


@dataclass
class Ran:
    """What a command left: its exit status and output, and the launch dir after it."""

    done: Done
    made: dict[str, object]


def both(site: Site, plain_nextflow: Path, case: Case) -> tuple[list[Ran], list[Ran]]:
    """Run a case with nfresume and with plain Nextflow, each in a folder of its own with the same name."""
    ours, plain = [str(BIN / "nfresume"), "launch"], [str(plain_nextflow), "run"]
    return (_run(site, site.base / "ours", ours, [], case),
            _run(site, site.base / "plain", plain, ["-ansi-log", "false"], case))


def _run(site: Site, base: Path, program: list[str], options: list[str], case: Case) -> list[Ran]:
    place, ran = base / "launch", []
    place.mkdir(parents=True)
    env = {**site.env, **case.env, "NXF_OFFLINE": "true", "NXF_HOME": str(site.base / "home"),
           "NFRESUME_STORAGE_EXPIRATION_HOURS": "1" if case.then else "0"}
    for given, files in ((case.words, {"main.nf": SHOW, **case.files}), *case.then):
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        words, start = list(given), [program[0], *case.before, *program[1:]]
        if options and "-C" in words:  # plain Nextflow takes it before the word `run`
            at = words.index("-C")
            start, words = [start[0], *words[at:at + 2], *start[1:]], words[:at] + words[at + 2:]
        # Nextflow's own option stands in front, unless the pipeline is read from standard input.
        words = [*words, *options] if words[0] in ("-", "-stub") else [*options, *words]
        stdin = {"stdin": subprocess.DEVNULL} if case.stdin is None else {"input": case.stdin}
        run = subprocess.run([*start, *words], cwd=place, env=env, text=True, capture_output=True,
                             timeout=120, umask=case.umask, errors="surrogateescape", **stdin)
        ran.append(Ran(Done(run.returncode, neutral(run.stdout, place), run.stderr), _made(place)))
    return ran


def _made(place: Path) -> dict[str, object]:
    """Modes of all files and folders, and the bytes of the files; links are followed."""
    found: dict[str, object] = {k: v for k, v in snapshot(place).items()
                                if not k.startswith((".nextflow", "work/"))}
    for folder, names, _ in os.walk(place, followlinks=True):
        for name in names:
            path = Path(folder, name)
            if not str(path.relative_to(place)).startswith((".nextflow", "work")):
                found[str(path.relative_to(place))] = path.stat().st_mode
    return found


def neutral(text: str, place: Path) -> str:
    """Standard output without what differs from run to run: hashes, run names, paths, tips, log names."""
    text = re.sub(r"\[[0-9a-f]{2}/[0-9a-f]{6}\]", "[hash]", text)
    text = re.sub(r"(Launching `)[^`]*/nextflow\d+\.tmp(`)", r"\1SCRIPT\2", text)
    text = re.sub(r"(Launching `[^`]+`) \[\S+\]", r"\1 [name]", text)
    text = re.sub(r"\S+/work/[0-9a-f]{2}/[0-9a-f]{30}", "TASK_DIR", text).replace(str(place), "HERE")
    # Which tip is shown is chance, and whether an agent is interrupted at the end.
    text = re.sub(r"^Tip: .*\n|^WARN: Got an interrupted exception.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(\[hash\] .*\n)+", lambda lines: "".join(sorted(lines[0].splitlines(True))), text,
                  flags=re.MULTILINE)
    return re.sub(r"'[^']*nextflow\.log'", "LOG", text)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.long if case.long or case.then or case.umask != 0o022 else ())
    for name, case in CASES.items()])
def test_the_same_as_nextflow_run(site: Site, plain_nextflow: Path, name: str):
    """Exit status, standard output, and results with their modes and folders are those of plain Nextflow."""
    for ours, theirs in zip(*both(site, plain_nextflow, CASES[name]), strict=True):
        if theirs.done.code and not theirs.done.out.count("Launching"):  # refused before anything ran
            assert ours.done.code, ours.done.err
            assert ours.made == theirs.made
            continue
        assert (ours.done.code, ours.done.out) == (theirs.done.code, theirs.done.out), ours.done.err
        assert ours.made == theirs.made


FAILING = """\
params.x = 'none'
params.flag = "${launchDir}/ok".toString()
process FIRST { output: path 'a'; script: "echo ${params.x} > a" }
process LAST {
    publishDir 'results', mode: 'copy'
    input: path a
    output: path 'b.txt'
    script: "cat a > b.txt; [ -e ${params.flag} ]"
}
workflow { LAST(FIRST()) }
"""
KEPT = ("--storage-expiration-hours", "1")


def failing(site: Site, name: str = "align.nf", text: str = FAILING) -> Path:
    (site.launch_dir / name).write_text(text)
    return site.launch_dir / name


@pytest.mark.long
def test_resume_is_of_this_pipeline(site: Site):
    """nf-schema#96: `launch align.nf -resume` relaunches align's execution, with the words given."""
    failing(site)
    failing(site, "call.nf")
    assert site.run("launch", "align.nf", "--x", "hg38", *KEPT).code == 1
    align = site.show()["id"]
    assert site.run("launch", "call.nf", "--x", "mm10", *KEPT).code == 1
    without = site.run("launch", "./align.nf", "-resume", *KEPT)  # as with Nextflow: no word is added
    assert (without.code, "0 tasks reused" in without.err) == (1, True)
    assert f"-resume: relaunching {align}" in without.err
    assert "without the options of its last attempt (--x hg38)" in without.err
    (site.launch_dir / "ok").touch()
    done = site.ok("launch", "./align.nf", "--x", "hg38", "-resume")
    assert f"-resume: relaunching {align}" in done.err
    assert "1 task reused" in done.err
    assert (site.launch_dir / "results/b.txt").read_text() == "hg38\n"


@pytest.mark.long
def test_resume_with_other_words(site: Site):
    """The words given with -resume are all that counts, as in Nextflow: a parameter left out is not kept."""
    failing(site)
    assert site.run("launch", "align.nf", "--x", "hg38", "--y", "1", *KEPT).code == 1
    (site.launch_dir / "ok").touch()
    site.ok("launch", "align.nf", "--y", "2", "-resume", *KEPT)
    assert (site.launch_dir / "results/b.txt").read_text() == "none\n"
    assert len(site.ok("list", "--json").json()) == 1
    assert site.show()["attempts"][1]["options"] == ["align.nf", "--y", "2"]


@pytest.mark.long
def test_resume_after_help(site: Site):
    """nf-schema#96: a run that did nothing, such as `--help`, does not come before a failure for -resume."""
    usage = "params.help = false\nworkflow {\n  if( params.help ) {\n    println 'usage'\n    return\n  }\n"
    failing(site, text=FAILING.replace("workflow {", usage))
    assert site.run("launch", "align.nf", *KEPT).code == 1
    assert "usage" in site.ok("launch", "align.nf", "--help").out
    (site.launch_dir / "ok").touch()
    assert "1 task reused" in site.ok("launch", "align.nf", "-resume").err


@pytest.mark.long
def test_resume_with_nothing_to_resume(site: Site):
    """-resume on a first run, after a success, or when the work dir is gone warns, and runs anew."""
    failing(site)
    first = site.run("launch", "align.nf", "-resume")
    assert (first.code, "-resume is ignored: account team has not run align.nf" in first.err) == (1, True)
    (site.launch_dir / "ok").touch()
    second = site.ok("launch", "align.nf", "-resume")
    assert "WARN: -resume is ignored: the work dir of align-" in second.err
    third = site.ok("launch", "align.nf", "-resume")
    assert "(the run succeeded)" in third.err
    assert len(site.ok("list", "--json").json()) == 3
    session = site.show()["attempts"][0]["session_id"]
    assert "is ignored" in site.ok("launch", "align.nf", "-resume", session).err
    unknown = site.run("launch", "align.nf", "-resume", "0f8d3a52-7e3d-4f7e-9a4e-2f1f6c1d2b3a")
    assert (unknown.code, "no execution has session" in unknown.err) == (66, True)


@pytest.mark.long
def test_reports_of_the_configuration(site: Site):
    """HiFi-16S#62: trace, report, timeline and dag files of the configuration do not stop a relaunch."""
    failing(site)
    (site.launch_dir / "nextflow.config").write_text("".join(
        f"{name} {{ enabled = true; file = '{name}.{end}' }}\n"
        for name, end in (("trace", "txt"), ("report", "html"), ("timeline", "html"), ("dag", "html"))))
    assert site.run("launch", "align.nf", *KEPT).code == 1
    (site.launch_dir / "ok").touch()
    site.ok("relaunch", site.show()["id"])
    assert "CACHED" in (site.launch_dir / "trace.txt").read_text()


@pytest.mark.long
def test_kept_inputs(site: Site):
    """nextflow#3801: a relaunch uses the files that were kept, and says which are gone or have changed."""
    failing(site)
    file, sheet = site.launch_dir / "p.json", site.launch_dir / "samples.csv"
    sheet.write_text("a,b\n")
    file.write_text(json.dumps({"x": "first", "input": "samples.csv"}))
    (site.launch_dir / "c.config").write_text("process.tag = 'kept'\n")
    words = ("launch", "align.nf", "-params-file", "p.json", "-c", "c.config", *KEPT)
    assert site.run(*words).code == 1
    e = site.show()
    kept = Path(e["work_dir"]["path"]).parent / "attempts/1/inputs"
    assert (kept / "1-p.json").read_text() == file.read_text()
    assert [i["given"] for i in json.loads((kept / "inputs.json").read_text())] == [
        "p.json", "c.config", "samples.csv"]
    file.write_text('{"x": "second"}')
    sheet.write_text("changed\n")
    (site.launch_dir / "c.config").unlink()
    (site.launch_dir / "ok").touch()
    done = site.ok("relaunch", e["id"], "--storage-expiration-hours", "1")
    for said in ("p.json has changed since the last attempt: this attempt uses what the last one was given",
                 "c.config is gone: this attempt uses", "samples.csv (--input) has changed since"):
        assert said in done.err, done.err
    assert "1 task reused" in done.err
    assert (site.launch_dir / "results/b.txt").read_text() == "first\n"


@pytest.mark.long
def test_a_kept_configuration_with_includes(site: Site):
    """vsn-pipelines#7: what a kept configuration includes is found beside the file that was given."""
    failing(site)
    (site.launch_dir / "conf/more").mkdir(parents=True)
    (site.launch_dir / "conf/a.config").write_text("includeConfig 'more/b.config'\n")
    (site.launch_dir / "conf/more/b.config").write_text("includeConfig 'c.config'\n")
    (site.launch_dir / "conf/more/c.config").write_text("params.x = 'included'\n")
    assert site.run("launch", "align.nf", "-c", "conf/a.config", *KEPT).code == 1
    (site.launch_dir / "conf/a.config").write_text("params.x = 'changed'\n")
    (site.launch_dir / "ok").touch()
    done = site.ok("relaunch", site.show()["id"])
    assert "conf/a.config has changed since" in done.err
    assert "1 task reused" in done.err
    assert (site.launch_dir / "results/b.txt").read_text() == "included\n"


@pytest.mark.long
def test_a_params_file_that_is_a_pipe(site: Site):
    """`-params-file <(...)` can be read once only: it is kept for this attempt and its relaunches."""
    failing(site)
    command = f"{BIN}/nfresume launch align.nf -params-file <(echo '{{\"x\": \"piped\"}}') {' '.join(KEPT)}"
    subprocess.run(["bash", "-c", command], cwd=site.launch_dir, env=site.env, check=False, timeout=120)
    (site.launch_dir / "ok").touch()
    site.ok("relaunch", site.show()["id"])
    assert (site.launch_dir / "results/b.txt").read_text() == "piped\n"


@pytest.mark.long
def test_a_script_from_standard_input_is_relaunched(site: Site):
    """The script of `launch -` is kept: a relaunch runs it again."""
    done = subprocess.run([str(BIN / "nfresume"), "launch", "-", *KEPT], input=FAILING, cwd=site.launch_dir,
                          env=site.env, text=True, capture_output=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    (site.launch_dir / "ok").touch()
    assert "1 task reused" in site.ok("relaunch", site.show()["id"]).err


def test_a_terminals_input_reaches_the_pipeline(site: Site):
    """What is typed on a terminal reaches a pipeline that reads it."""
    import pty

    (site.launch_dir / "main.nf").write_text(
        "workflow { println 'read ' + System.in.newReader().readLine() }")
    control, terminal = pty.openpty()
    child = subprocess.Popen([str(BIN / "nfresume"), "launch", "main.nf"], cwd=site.launch_dir, env=site.env,
                             stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    os.close(terminal)
    os.write(control, b"yes\n")
    out, _ = child.communicate(timeout=100)
    os.close(control)
    assert (child.returncode, "read yes" in out) == (0, True)


@pytest.mark.parametrize("number", [
    signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.long) for n in (signal.SIGHUP, signal.SIGINT))])
def test_signals_end_the_run(site: Site, plain_nextflow: Path, number: signal.Signals):
    """SIGINT, SIGTERM and SIGHUP to the command do to the run what they do to `nextflow run`."""
    child = site.start("launch", str(site.pipeline("slow")), *KEPT)
    until(lambda: site.runs("sleep"), what="a running task")
    child.send_signal(number)
    out, said = child.communicate(timeout=60)
    assert "Traceback" not in said
    until(lambda: site.show()["state"] == "CANCELLED", what="its end")
    assert not site.runs("sleep")
    theirs, their_out = ended_by(site, plain_nextflow, number)
    assert (child.returncode, before_the_end(out, site)) == (theirs, their_out)


def ended_by(site: Site, plain_nextflow: Path, number: signal.Signals) -> tuple[int, str]:
    """Run the pipeline with plain Nextflow, send the signal to it; its exit status and standard output."""
    place = site.base / "plain"
    place.mkdir()
    words = [str(plain_nextflow), "run", "-ansi-log", "false", str(site.launch_dir / "slow")]
    child = subprocess.Popen(words, cwd=place, env=site.env, text=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    until(lambda: site.runs("sleep"), what="a running task")
    child.send_signal(number)
    out, _ = child.communicate(timeout=60)
    return child.returncode, before_the_end(out, site)


def before_the_end(out: str, site: Site) -> str:
    """What was said before the signal; what is said after it depends on the moment."""
    return neutral(out, site.launch_dir).partition("\nWARN")[0].rstrip()


@pytest.mark.long
def test_nohup_stays(site: Site):
    """A SIGHUP that the caller ignores ends nothing."""
    (site.launch_dir / "main.nf").write_text("process A { script: 'sleep 3' }\nworkflow { A() }")
    env = {**site.env, "NFRESUME": str(BIN / "nfresume")}
    child = subprocess.Popen(["bash", "-c", 'trap "" HUP; exec "$NFRESUME" launch main.nf'], env=env,
                             cwd=site.launch_dir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    until(lambda: site.runs("sleep"), what="a running task")
    child.send_signal(signal.SIGHUP)
    assert child.wait(60) == 0


NESTED = """\
process NESTED {
    output: path 'out/*'
    script:
    '''
    env | grep -oE '^(NXF_|BASH_ENV)[A-Z_]*' | sort > env.txt
    echo "workflow { println 'inner' }" > inner.nf
    nextflow -q run inner.nf
    mkdir out; cp env.txt out; ls -a .nextflow | grep history > out/history.txt
    '''
}
process PYTHON {
    output: path 'python/*'
    script:
    '''
    #!/usr/bin/env python3
    import os, subprocess
    os.mkdir('python')
    open('inner.nf', 'w').write("workflow { println 'inner' }")
    subprocess.run(['nextflow', '-q', 'run', 'inner.nf'], check=True)
    open('python/found.txt', 'w').write(str(os.path.exists('.nextflow/history')))
    '''
}
process NATIVE {
    output: val 'native.txt'
    exec:
    def place = file("${task.workDir}/inner")
    place.mkdirs()
    place.resolve('inner.nf').text = "workflow { println 'inner' }"
    def inner = ['nextflow', '-q', 'run', 'inner.nf'].execute(null, place.toFile())
    inner.waitForProcessOutput(System.out, System.err)
    println "native ${inner.exitValue()} ${place.resolve('.nextflow/history').exists()}"
}
workflow {
    NATIVE()
    NESTED()
    PYTHON()
    NESTED.out.mix(PYTHON.out).flatten().collectFile(storeDir: 'seen')
}
"""


@pytest.mark.long
def test_nextflow_inside_a_task(site: Site, plain_nextflow: Path):
    """nf-cascade#6: a task has the user's NXF_* and none of ours, so `nextflow run` works in it."""
    (site.launch_dir / "main.nf").write_text(NESTED)
    env = {"PATH": f"{plain_nextflow.parent}:{site.env['PATH']}", "NXF_OPTS": "-Dsome=thing"}
    done = site.ok("launch", "--nextflow", str(plain_nextflow), "main.nf", **env)
    assert "native 0 true" in done.out
    plain = site.base / "plain"
    plain.mkdir()
    shutil.copy(site.launch_dir / "main.nf", plain)
    theirs = run_plain(plain_nextflow, plain, "main.nf", env={**site.env, **env})
    assert theirs.returncode == 0, theirs.stdout
    assert sorted(neutral(done.out, site.launch_dir).splitlines()) == sorted(
        neutral(theirs.stdout, plain).splitlines())
    assert snapshot(plain / "seen") == snapshot(site.launch_dir / "seen")
    seen = site.launch_dir / "seen"
    # NXF_CLI is exported by Nextflow's own launcher, NXF_TASK_WORKDIR by Nextflow.
    assert (seen / "env.txt").read_text().split() == ["NXF_CLI", "NXF_OPTS", "NXF_TASK_WORKDIR"]
    assert (seen / "history.txt").read_text() == "history\n"
    assert (seen / "found.txt").read_text() == "True"


def test_the_users_bash_env_is_sourced(site: Site):
    """A BASH_ENV of the user, as module systems set it, is sourced in tasks as before."""
    hook = site.base / "module system.sh"
    hook.write_text("export FROM_MODULES=yes\n")
    (site.launch_dir / "main.nf").write_text(
        "process A { debug true; script: 'echo \"$FROM_MODULES $BASH_ENV\"' }\nworkflow { A() }")
    assert f"yes {hook}" in site.ok("launch", "main.nf", BASH_ENV=str(hook)).out


def test_only_configuration_does_not_clean_up(site: Site):
    """With -C and `cleanup = true` the work dir is still nfresume's: results do not dangle."""
    failing(site, text=FAILING.replace(", mode: 'copy'", ""))
    (site.launch_dir / "ok").touch()
    (site.launch_dir / "only.config").write_text("cleanup = true\n")
    site.ok("launch", "align.nf", "-C", "only.config", "--pin")
    assert (site.launch_dir / "results/b.txt").is_symlink() or (site.launch_dir / "results/b.txt").exists()
    assert list(Path(site.show()["work_dir"]["path"]).glob("*/*/b.txt"))


def git(place: Path, *words: str) -> str:
    done = subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words], cwd=place,
                          check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(site: Site) -> Path:
    """A bare repository with two revisions: `v1` keeps 12 hours, the default branch 5; both fail."""
    tree = site.base / "tree"
    tree.mkdir()
    git(tree, "init", "-q", "-b", "master")
    metadata = tree / "latch_metadata"
    metadata.mkdir()
    (tree / "main.nf").write_text(FAILING)
    (tree / "other.nf").write_text("workflow { println 'other' }")
    for hours, tag in ((12, "v1"), (5, None)):
        (metadata / "__init__.py").write_text(
            "from nfresume_metadata import LatchAuthor, NextflowMetadata, NextflowRuntimeResources\n"
            "NextflowMetadata(display_name='x', author=LatchAuthor(name='x'), "
            f"runtime_resources=NextflowRuntimeResources(storage_expiration_hours={hours}))\n")
        git(tree, "add", "-A")
        git(tree, "commit", "-q", "-m", str(hours))
        if tag:
            git(tree, "tag", tag)
    bare = site.base / "repositories/acme.git"
    bare.parent.mkdir()
    git(tree, "clone", "-q", "--bare", str(tree), str(bare))
    return bare


@pytest.mark.long
def test_a_remote_pipelines_hours(site: Site, repository: Path):
    """The hours of a remote pipeline are those of the revision that ran, read once Nextflow has pulled it."""
    env = {"NXF_ASSETS": str(site.base / "assets")}
    first = site.run("launch", f"file:{repository}", "-r", "v1", **env)
    assert (first.code, "to be read from the pipeline" in first.err) == (1, True), first.err
    e = site.show()
    assert (e["storage_expiration_hours"], e["work_dir"]["state"]) == (12, "RETAINED")
    assert re.match(r"latch_metadata/__init__.py of local/acme at [0-9a-f]{10}",
                    e["storage_expiration_source"])
    shutil.rmtree(site.base / "assets")
    assert site.run("launch", f"file:{repository}", **env).code == 1
    assert site.show()["storage_expiration_hours"] == 5
    (site.launch_dir / "ok").touch()
    assert "1 task reused" in site.ok("relaunch", site.show()["id"], **env).err


@pytest.mark.long
def test_forms_of_a_remote_pipeline(site: Site, repository: Path, plain_nextflow: Path):
    """nextflow#1492, nextflow#2541: owner/repo/script.nf, a bare name, a URL and -main-script all run."""
    env = {"NXF_ASSETS": str(site.base / "assets"), "NXF_OFFLINE": "true"}
    place = site.base / "assets/acme/rna"
    git(site.base, "clone", "-q", str(repository), str(place))
    git(place, "remote", "set-url", "origin", "https://github.com/acme/rna.git")
    for words in (["acme/rna/other.nf"], ["rna", "-main-script", "other.nf"], ["acme/rna", "-main-script",
                  "other.nf", "-r", "master"], ["https://github.com/acme/rna", "-main-script", "other.nf"]):
        theirs = subprocess.run([str(plain_nextflow), "run", *words, "-ansi-log", "false"], cwd=site.base,
                                env={**site.env, **env}, text=True, capture_output=True, timeout=120,
                                check=False, stdin=subprocess.DEVNULL)
        ours = site.run("launch", *words, **env)
        said = neutral(ours.out, site.launch_dir), neutral(theirs.stdout, site.base)
        assert (ours.code, said[0]) == (theirs.returncode, said[1]), ours.err
        assert "other" in ours.out
    unknown = site.run("launch", "nonsense", **env)
    assert (unknown.code, "nextflow-io/nonsense" in unknown.err + unknown.out) == (1, True)


@pytest.mark.long
def test_nextflows_own_log_of_an_execution(site: Site):
    """`nextflow ID log` shows what Nextflow's own log command shows of the private history."""
    failing(site)
    assert site.run("launch", "align.nf", *KEPT).code == 1
    e = site.show()["id"]
    assert f"{e}-1" in site.ok("nextflow", e, "log").out
    listed = site.ok("nextflow", e, "log", f"{e}-1", "-f", "name,status").out
    assert listed == "FIRST\tCOMPLETED\nLAST\tFAILED\n"
    for words in (("clean", "-f"), ("drop", "x"), ("run", "x.nf"), ("fs", "rm", "x"), ()):
        assert site.run("nextflow", e, *words).code == 64


@pytest.mark.parametrize(("script", "said"), first(2, [
    ("workflow { error 'no --input given' }", "no --input given"),
    ("workflow { throw new IllegalStateException('the cause') }", "the cause"),
    ("workflow {\n  foo(\n}", "main.nf, line 1: Unexpected input: '{': workflow {"),
    ("params {\n  n: Integer = 3\n}\nworkflow { }", "a `params {}` block needs Nextflow 25.10 or newer"),
    ("workflow {\n  main:\n  x = 1\n  publish:\n  x = x\n}\noutput {\n  x { }\n}",
     "an `output {}` block needs Nextflow 25.10 or newer"),
]))
def test_errors_in_their_own_words(site: Site, script: str, said: str):
    """An error is the exception's own words; a compile error has file, line and text, and what it needs."""
    (site.launch_dir / "main.nf").write_text(script)
    done = site.run("launch", "main.nf", *KEPT)
    error = site.show()["attempts"][0]["error"]
    assert (done.code, said in error, "@unknown" in error) == (1, True, False), error


def test_no_advice_that_would_fail(site: Site):
    """After a failure before Nextflow has a cache, `relaunch` is not advised; -resume runs anew."""
    failing(site)
    (site.launch_dir / "bad.config").write_text("process { cpus = \n}\n")
    done = site.run("launch", "align.nf", "-c", "bad.config", *KEPT)
    assert (done.code, "nfresume relaunch" in done.err) == (1, False)
    assert "nothing had run yet" in done.err
    again = site.run("launch", "align.nf", "-resume", *KEPT)
    assert "WARN: -resume is ignored" in again.err
    assert "nfresume relaunch" in again.err


@pytest.mark.long
def test_list_says_that_there_is_more(site: Site):
    """The table says when it does not show all; `list --json` lists all."""
    (site.launch_dir / "main.nf").write_text("workflow { println 1 }")
    for _ in range(2):
        site.ok("launch", "main.nf")
    assert "more than 1" in site.ok("list", "--limit", "1").err
    assert site.ok("list", "--limit", "2").err == ""
    assert len(site.ok("list", "--json").json()) == 2


def test_work_dir_and_environment(site: Site):
    """-w is taken out with a note; options in NXF_CLI_OPTS and NXF_PARAMS_FILE count as in Nextflow."""
    (site.launch_dir / "main.nf").write_text(SHOW)
    (site.launch_dir / "p.yml").write_text("y: 7\n")
    done = site.ok("launch", "main.nf", "-w", "elsewhere", NXF_CLI_OPTS="--x 3", NXF_PARAMS_FILE="p.yml",
                   NXF_LOG_FILE="mine.log")
    assert "Session UUID" in (site.launch_dir / "mine.log").read_text()
    assert "note: -w" in done.err.replace("-work-dir", "-w")
    assert "x=3" in done.out
    assert "y=7" in done.out
    assert not (site.launch_dir / "elsewhere").exists()
    assert site.run("launch", "main.nf", "-w", "s3://bucket/work").code == 64
    assert os.listdir(site.launch_dir / "results") == ["x.txt"]


@pytest.mark.long
def test_a_folder_that_was_removed(site: Site):
    """A launch from a folder that is gone is refused in one line."""
    place = site.base / "gone"
    place.mkdir()
    done = subprocess.run(["bash", "-c", f'rmdir "{place}"; "{BIN}/nfresume" launch main.nf'], cwd=place,
                          env=site.env, text=True, capture_output=True, check=False, timeout=60)
    assert (done.returncode, "the current folder was removed" in done.stderr) == (64, True)
