"""Python workflows are launched, fail and are relaunched from the failed task, as Nextflow pipelines are."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nfresume.domain.errors import UsageError
from nfresume.nextflow import processes as nextflow_processes
from nfresume.tasks import checking
from tests.conftest import Site, until
from tests.tasks.conftest import fix, put, ran


def failing(site: Site, *words: str) -> str:
    done = site.run("launch", "--storage-expiration-hours", "48", *words)
    assert done.code == 1, done.err
    return site.show()["id"]


def test_fail_mend_retry(site: Site):
    """Of a Latch workflow only the failed task runs again. Results stay; the work dir is deleted."""
    script = put(site, "assembly.py")
    for name, read in (("a", "GGCCAATTGG"), ("b", "AAAATTTTGG")):
        (site.launch_dir / f"{name}.fastq").write_text(f"@1\n{read}\n")
    reads = json.dumps(["a.fastq", "b.fastq"])
    execution = failing(site, "assembly.py:assemble", "--reads", reads, "--title", "Two samples")
    e = site.show(execution)
    assert (e["state"], e["work_dir"]["state"]) == ("FAILED", "RETAINED")
    assert e["attempts"][0]["tasks"]["succeeded"] == 4
    assert e["attempts"][0]["error"] == "Process `report (1)` failed with exit status 1: ValueError: " \
                                        "gc_contnet is misspelt"
    log = site.ok("logs", execution, "--task", "trim").out
    assert "trimmed b.fastq" in log
    fix(script, "sample,gc_contnet", "sample,gc_content")
    done = site.ok("relaunch", execution)
    assert "report (1) runs: it had not finished before" in done.err
    assert re.search(r"4 tasks reused(?: \(.*?\))?, 1 rerun, 0 new", done.err)
    report = site.launch_dir / "results/reports/report.csv"
    assert report.read_text() == "# Two samples\nsample,gc_content\na,0.500\nb,0.000\n"
    assert json.loads(done.out) == [str(report), [0.5, 0.0]]
    e = site.show(execution)
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    assert e["attempts"][1]["tasks"] == {
        "submitted": 1, "cached": 4, "succeeded": 1, "failed": 0, "ignored": 0, "retried": 0}


def test_the_graph(site: Site):
    """The graph may have nested workflows, loops over lists and results, maps, tuples and NamedTuples."""
    put(site, "arithmetic.py")
    done = site.ok("launch", "arithmetic.py:everything")
    assert json.loads(done.out) == {"nested": 9, "low": 0, "high": 6, "loop": 6, "each": 33, "later": 303}
    assert sorted(ran(site)) == sorted([
        "ends 6", "add 0+1", "add 1+1", "add 2+1", "numbers 3", "add 0+10", "add 1+10", "add 2+10",
        "add 0+100", "add 1+100", "add 2+100", "split 6", "times 3*3", "total 6", "total 33", "total 303"])


def test_a_failure_stops_its_dependants_only(site: Site):
    """Tasks that do not depend on the failed one finish, and are reused by the relaunch."""
    script = put(site, "arithmetic.py")
    execution = failing(site, "arithmetic.py:one_fails")
    assert sorted(ran(site)) == ["add 1+5", "fails 1"]
    assert "ValueError: no luck with 1" in site.ok("logs", execution, "--task", "fails").out
    fix(script, "    raise ValueError", "    return 7\n    raise ValueError")
    assert site.ok("relaunch", execution).out == "42\n"
    assert sorted(ran(site)) == ["fails 1", "times 7*6"]


def test_retries_and_timeouts(site: Site):
    """A task is retried as often as it declares. After its timeout it is stopped with its children."""
    put(site, "arithmetic.py")
    assert site.ok("launch", "arithmetic.py:retried").out == "1\n"
    assert ran(site) == ["third_time 1"] * 3
    assert site.show()["attempts"][0]["tasks"]["retried"] == 2
    done = site.run("launch", "arithmetic.py:times_out")
    assert "took longer than its timeout of 1 s" in done.err
    until(lambda: not site.processes(), what="its processes to be gone")


def test_side_by_side(site: Site):
    """Tasks run at the same time as long as there are enough CPUs for them. Otherwise they wait."""
    put(site, "arithmetic.py")

    def overlap(size: int) -> bool:
        site.ok("launch", "--jobs", "2", "arithmetic.py:side_by_side", "--size", str(size))
        (_, start1, end1), (_, start2, end2) = sorted(line.split() for line in ran(site))
        return max(start1, start2) < min(end1, end2)

    assert overlap(1)
    assert not overlap(2)


INPUTS = {
    "count": 3, "ratio": 2, "name": "x", "flag": True, "colour": "blue", "items": [1, 2], "table": {"a": 1},
    "sample": {"name": "s"}, "place": "here.txt", "when": "2026-01-31T12:00:00", "maybe": None, "either": "7",
}
SHOWN = ("(3, 2.0, 'x', True, 'BLUE', None, 7, [1, 2], {'a': 1.0}, 's', 1, 'PosixPath', "
         "'2026-01-31T12:00:00')")


@pytest.mark.parametrize("form", ["words", "json", "yaml", "params-file behind"])
def test_inputs_of_every_type(site: Site, form: str):
    """Inputs come from words, and from JSON and YAML files. Words take precedence over a file.

    Of Union[int, str] a word "7" is a number; in a file a text stays a text.
    """
    put(site, "arithmetic.py")
    words: list[str] = []
    if form == "words":
        for name, value in INPUTS.items():
            words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    else:
        file = "params.yml" if form == "yaml" else "params.json"
        text = "\n".join(f"{k}: {json.dumps(v)}" for k, v in {**INPUTS, "count": 99}.items())
        (site.launch_dir / file).write_text(text if form == "yaml" else json.dumps({**INPUTS, "count": 99}))
        words = ["--params-file" if "behind" in form else "-params-file", file, "--count", "3"]
    shown = SHOWN if form == "words" else SHOWN.replace("None, 7,", "None, '7',")
    assert json.loads(site.ok("launch", "arithmetic.py:typed", *words).out) == shown


@pytest.mark.parametrize(("words", "code", "line"), [
    (("arithmetic.py:typed", "--count", "x"), 64, "inputs are missing: --ratio (float), --name (str)"),
    (("arithmetic.py:everything", "--n", "1.5"), 64, "--n: '1.5' is not a whole number"),
    (("arithmetic.py:everything", "--m", "1"), 64, "there is no input 'm'; the workflow has --n"),
    (("arithmetic.py:nothing",), 65, "has no workflow 'nothing'; it has inner, everything"),
    (("arithmetic.py",), 64, "name which of its workflows to run"),
    (("absent.py:x",), 66, "there is no script 'absent.py'"),
    (("broken.py:x",), 65, "line 1 of broken.py: ZeroDivisionError: division by zero"),
    (("arithmetic.py:everything", "-profile", "x"), 64, "-profile is an option of Nextflow"),
    (("arithmetic.py:everything", "-params-file", "absent.json"), 66, "there is no params file"),
    (("arithmetic.py:everything", "-params-file", "list.yml"), 64, "does not map names to inputs"),
    (("arithmetic.py:everything", "-params-file", "bytes.yml"), 64, "bytes.yml cannot be read: 'utf-8'"),
    (("arithmetic.py:everything", "stray"), 64, "'stray' is not an input"),
    (("--jobs", "2", "main.nf"), 64, "--jobs is for Python workflows"),
])
def test_refusals(site: Site, words: tuple[str, ...], code: int, line: str):
    """Each refusal has a one-line message and its exit code. Nothing is launched."""
    put(site, "arithmetic.py")
    (site.launch_dir / "broken.py").write_text("1 / 0\n")
    (site.launch_dir / "list.yml").write_text("- 1\n")
    (site.launch_dir / "bytes.yml").write_bytes(b"n: \xff\n")
    (site.launch_dir / "main.nf").write_text("workflow {}\n")
    done = site.run("launch", *words)
    assert (done.code, line in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
    assert site.ok("list", "--json").json() == []


FAILING = """
from latch import small_task, workflow

@small_task
def kept(n: int) -> int:
    return n

@small_task
def failing(n: int) -> int:
    raise ValueError(n)

@workflow
def flow(n: int) -> int:
    return failing(n=kept(n=n))
"""


@pytest.mark.parametrize("option", ["-params-file", "--params-file"])
@pytest.mark.parametrize("given", ["gone", "changed", "a pipe"])
def test_a_relaunch_uses_the_params_file_that_was_given(site: Site, option: str, given: str):
    """It may be gone, may have become a wrong one, and may have been a pipe."""
    script, params = site.launch_dir / "flow.py", site.launch_dir / "params.json"
    script.write_text(FAILING)
    params.write_text('{"n": 5}')
    file = "<(cat params.json)" if given == "a pipe" else "params.json"
    program = Path(sys.executable).parent / "nfresume"
    command = f"{program} launch --storage-expiration-hours 1 flow.py:flow {option} {file}"
    done = subprocess.run(["bash", "-c", command], cwd=site.launch_dir, env=site.env, capture_output=True,
                          text=True, timeout=100)
    assert "ValueError: 5" in done.stderr, done.stderr
    params.write_text('{"n": "x"}') if given == "changed" else params.unlink()
    script.write_text(FAILING.replace("raise ValueError(n)", "return n"))
    relaunched = site.ok("relaunch", "flow")
    assert relaunched.out == "5\n"
    assert "1 task reused, 1 rerun" in relaunched.err


def test_rules_of_parameters(tmp_path: Path):
    """An input that breaks a LatchRule is refused with its message. Defaults, and paths of Latch, are not."""
    (tmp_path / "flow.py").write_text("""
from typing import List, Optional
from latch import small_task, workflow
from latch.types import LatchAuthor, LatchFile, LatchMetadata, LatchOutputDir, LatchParameter, LatchRule

word, fasta = LatchRule(r"^[a-z]+$", "only letters"), LatchRule("(.fa|.fasta)$", "a FASTA file")
inside, top = LatchRule(r"\\d", "has a digit"), LatchRule(r"^latch:///.+", "not the root")
metadata = LatchMetadata("x", LatchAuthor("a"), parameters={
    "name": LatchParameter(rules=[word, LatchRule("^.{1,5}$", "too long")]),
    "names": LatchParameter(rules=[inside]), "file": LatchParameter(rules=[fasta, top]),
    "n": LatchParameter(rules=[word]), "none": LatchParameter()})

@workflow(metadata)
def flow(name: str = "A 1", names: List[str] = [], file: Optional[LatchFile] = None, n: int = 1) -> None: ...
""".lstrip())
    (tmp_path / "a.fa").touch()
    (tmp_path / "a.txt").touch()
    good: list[dict[str, object]] = [{}, {"name": "abc", "names": ["a1", "2"], "file": "a.fa", "n": 7},
                                     {"file": None}]
    for given in good:
        checking.check("flow.py:flow", tmp_path, given)
    bad = [({"name": "a b"}, "--name: 'a b' does not match ^[a-z]+$: only letters"),
           ({"name": "abcdef"}, "too long"), ({"names": ["a1", "b"]}, "--names: 'b' does not match"),
           ({"file": "a.txt"}, "a.txt' does not match (.fa|.fasta)$: a FASTA file")]
    for given, line in bad:
        with pytest.raises(UsageError, match=re.escape(line)):
            checking.check("flow.py:flow", tmp_path, given)


def test_a_process_and_a_folder_each(site: Site):
    """Two equal calls run in two processes and two task dirs. Their output is kept there."""
    put(site, "arithmetic.py")
    done = site.ok("launch", "--pin", "arithmetic.py:places")
    first, second = json.loads(done.out)
    assert first["pid"] != second["pid"]
    assert first["cwd"] == second["cwd"] == "/root"
    left = sorted(site.root.rglob("left-here.txt"))
    assert len(left) == 2
    for place in (path.parent.parent for path in left):
        assert (place / "root/left-here.txt").read_text() == "x"
        assert (place / ".command.out").read_text() == "to standard output\n"
        assert (place / ".command.err").read_text() == "to standard error\n"
        assert "def where()" in (place / ".command.sh").read_text()
        assert (place / ".exitcode").read_text() == "0"


def test_where_the_hours_come_from(site: Site):
    """They come from the option, else from the workflow's declaration, else from the setting."""
    script = put(site, "arithmetic.py")
    fix(script, "@workflow\ndef one_fails", "@workflow(storage_expiration_hours=7)\ndef one_fails")

    def hours(*words: str, **env: str) -> tuple[float, str]:
        site.run("launch", *words, "arithmetic.py:one_fails", **env)
        return site.show()["storage_expiration_hours"], site.show()["storage_expiration_source"]

    assert hours() == (7, "arithmetic.py:one_fails")
    assert hours("--storage-expiration-hours", "3") == (3, "--storage-expiration-hours")
    fix(script, "(storage_expiration_hours=7)", "")
    assert hours(NFRESUME_STORAGE_EXPIRATION_HOURS="5")[0] == 5


def test_many_files(site: Site):
    """A workflow may have more input files than a pipe holds. An input that a task returns is not copied."""
    put(site, "arithmetic.py")
    (site.launch_dir / "in").mkdir()
    for number in range(3000):
        (site.launch_dir / f"in/{number:0200}.txt").write_text("x" * (number % 3))
    files = [f"in/{number:0200}.txt" for number in range(3000)]
    (site.launch_dir / "params.json").write_text(json.dumps({"files": files}))
    done = site.ok("launch", "--pin", "arithmetic.py:many", "-params-file", "params.json")
    assert json.loads(done.out) == [3000, str(site.launch_dir / files[0])]
    assert list((site.root / "team").rglob(f"work/*/*/{Path(files[0]).name}")) == []


def test_cancel(site: Site):
    """A cancel stops the running tasks. A relaunch reuses the finished ones."""
    script = put(site, "arithmetic.py")
    execution = site.ok("launch", "--detach", "--storage-expiration-hours", "48",
                        "arithmetic.py:waits").out.strip()
    until(lambda: (file := site.launch_dir / "ran.txt").exists() and "slow" in file.read_text())
    assert site.ok("cancel", execution, "--json").json()["state"] == "CANCELLED"
    until(lambda: not site.processes(), what="its processes to be gone")
    ran(site)
    fix(script, "    time.sleep(600)\n", "")
    assert site.ok("relaunch", execution).out == "2\n"
    assert ran(site) == ["slow 2"]


@pytest.mark.parametrize("who", ["head", "task", pytest.param("all", marks=pytest.mark.long)])
def test_killed(site: Site, who: str):
    """After kill -9 of the head, a task, or everything, no process is left, and finished tasks are reused."""
    script = put(site, "arithmetic.py")
    execution = site.ok("launch", "--detach", "--storage-expiration-hours", "48", "arithmetic.py:waits",
                        NFRESUME_LEASE_SECONDS="2").out.strip()
    until(lambda: (file := site.launch_dir / "ran.txt").exists() and "slow" in file.read_text())
    found = nextflow_processes.read(site.root / "team" / execution / "attempts/1")
    assert found is not None
    for process in [p for p in site.processes()
                    if who == "all" or (p.pid == found.pid if who == "head" else p.ppid() == found.pid)]:
        process.kill()
    assert site.run("wait", execution, "--timeout", "30").code != 0
    assert site.show(execution)["state"] == "FAILED"
    until(lambda: not site.processes(), what="its processes to be gone")
    ran(site)
    fix(script, "    time.sleep(600)\n", "")
    assert site.ok("relaunch", execution).out == "2\n"
    assert ran(site) == ["slow 2"]


def test_results_that_were_tampered_with(site: Site):
    """A finished task runs again if its output was changed or deleted. The reason is printed."""
    script = put(site, "assembly.py")
    (site.launch_dir / "a.fastq").write_text("@1\nGGCCAATTGG\n")
    execution = failing(site, "assembly.py:assemble", "--reads", '["a.fastq"]')
    for trimmed in (site.root / "team" / execution / "work").glob("*/*/root/trimmed-a.fastq"):
        trimmed.write_text("@1\nGGGGGGGG\n")
    fix(script, "@small_task(cache=True)", "@small_task")
    done = site.run("relaunch", execution)
    assert "trim (1) runs: its output trimmed-a.fastq was changed after it had run" in done.err
    assert "1 tasks reused" not in done.err


def test_a_changed_input_runs_what_depends_on_it(site: Site):
    """The reason names the input and its old and new value."""
    put(site, "arithmetic.py")
    execution = failing(site, "arithmetic.py:one_fails", "--n", "1")
    ran(site)
    done = site.run("relaunch", execution, "--n", "2")
    assert "add (1) runs: its input a changed: from 1 to 2" in done.err
    assert "add (1) ran again: its input a changed: from 1 to 2\n" in site.ok("explain", execution).out
    call = site.ok("explain", "arithmetic.py:add", "--a", "1", "--b", "2", "--json").json()
    assert call["hit"] is False
    assert sorted(ran(site)) == ["add 2+5", "fails 2"]


@pytest.mark.long
def test_an_import_with_threads(site: Site):
    """If the file's import starts threads, each task gets a new interpreter. The results are the same."""
    script = put(site, "arithmetic.py")
    with script.open("a") as file:
        file.write("\nimport threading\n"
                   "threading.Thread(target=threading.Event().wait, daemon=True).start()\n")
    assert json.loads(site.ok("launch", "arithmetic.py:everything").out)["each"] == 33


def test_a_workflow_that_raises(site: Site):
    """An exception of the workflow's function fails the run, with its message."""
    script = put(site, "arithmetic.py")
    fix(script, "    return times(a=fails", "    if independent:\n        n = 2\n    return times(a=fails")
    done = site.run("launch", "arithmetic.py:one_fails")
    assert done.code == 1
    assert re.search(r"TypeError: line \d+ of arithmetic.py: <the promise of add \(1\)> has no value yet: "
                     "test it inside of a task", done.err)


def test_ctrl_c(site: Site):
    """Ctrl-C at the terminal cancels the run. The exit code is 143."""
    put(site, "arithmetic.py")
    child = site.start("launch", "arithmetic.py:waits")
    until(lambda: (file := site.launch_dir / "ran.txt").exists() and "slow" in file.read_text())
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 143
    assert site.show()["state"] == "CANCELLED"
    until(lambda: not site.processes(), what="its processes to be gone")


def test_an_output_folder_of_choice(site: Site):
    """Results go to -output-dir. Nothing else is written to the launch dir."""
    put(site, "assembly.py")
    (site.launch_dir / "a.fastq").write_text("@1\nGGCCAATTGG\n")
    fix(site.launch_dir / "assembly.py", "sample,gc_contnet", "sample,gc_content")
    site.ok("launch", "assembly.py:assemble", "--reads", '["a.fastq"]', "-output-dir", "out")
    assert (site.launch_dir / "out/reports/report.csv").exists()
    assert sorted(os.listdir(site.launch_dir)) == ["a.fastq", "assembly.py", "out"]


@pytest.mark.parametrize("threads", ["1", "2"])
def test_tasks_draw_their_own_random_numbers(site: Site, threads: str):
    """Each task is a process of its own, on Latch too: numpy's random numbers are not the same in all."""
    put(site, "science.py")
    found = json.loads(site.ok("launch", "science.py:draws", OPENBLAS_NUM_THREADS=threads).out)
    assert len(set(found)) == 3


@pytest.mark.parametrize("seed", ["random.seed(42)", ""])
def test_a_seed_in_the_file_counts_for_each_task(site: Site, seed: str):
    """As on Latch, where each task imports the file: a seed there is one for all, without one they differ."""
    (site.launch_dir / "seeded.py").write_text(f"""
import random
from typing import List
from nfresume.tasks import map_task, task, workflow
{seed}
@task
def draw(at: int) -> float:
    return random.random()
@workflow
def draws(at: List[int] = [1, 2, 3]) -> List[float]:
    return map_task(draw)(at=at)
""")
    found = json.loads(site.ok("launch", "seeded.py:draws").out)
    assert found == [random.Random(42).random()] * 3 if seed else len(set(found)) == 3
