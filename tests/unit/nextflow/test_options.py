"""The words of a launch, split as Nextflow 24.10.5 splits them."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nfresume.cli.launching import launch, relaunch
from nfresume.cli.words import split
from nfresume.domain.errors import UsageError
from nfresume.nextflow.assets import is_remote
from nfresume.nextflow.command import Run, argv
from nfresume.nextflow.options import FLAGS, OPTIONAL_VALUE, merge, parse

RUN = Run("x-1", "s", False, Path("/r/work"), Path("/r/cache"), Path("/r/attempts/1"))


@pytest.mark.parametrize(
    "words",
    [
        ["main.nf"],
        ["main.nf", "-profile", "test,docker", "-params-file", "p.json", "--outdir", "r"],
        ["owner/repo", "-r", "3.14.0", "-entry", "WF", "-latest"],
        ["main.nf", "--x", "-5", "--y", "-1.5e3", "--z=-resume", "--flag", "--w", "-"],
        ["main.nf", "-c", "a.config", "-c", "b.config", "-with-report", "r.html", "-with-dag"],
        ["main.nf", "-process.cpus=4", "-e.KEY=value", "-stub-run", "-N", "me@example.org"],
        ["main.nf", "--a", "1", "extra"],
        ["main.nf", "-with-docker", "-qs", "4"],
        ["-profile", "test", "main.nf", "--tool_args", "-q 20 -u 3", "--outdir", "res1"],
        ["-stub", "main.nf", "-process.cpus", "2", "-executor.queueSize", "-5"],
        [".", "--outdir", ".", "-dump-channels", "NAME"],
        ["-", "-with-agent-trace", "--x", ""],
    ],
)
def test_users_words_pass_unchanged(words):
    """All words that nfresume does not own reach Nextflow unchanged and in order (nextflow#5376)."""
    given = list(parse(words).words)
    assert given == words
    made = argv(["nextflow"], RUN, parse(words))
    behind = made[made.index("-work-dir") + 2:]
    stdin = words[0] == "-"
    assert behind == [*(["-stdin"] if stdin else []), *words[stdin:], "-c", "/r/attempts/1/nfresume.config"]


def test_global_options_go_before_run():
    """-C, -q and the like go before the word `run`, wherever the user wrote them. Ours is the last -C."""
    made = argv(["nextflow"], RUN, parse(["-q", "main.nf", "-C", "only.config", "--x", "1", "-DA=b"]))
    assert made[1:made.index("-log")] == [
        "-q", "-C", "only.config", "-DA=b", "-C", "/r/attempts/1/nfresume.config"]
    assert made[-3:] == ["main.nf", "--x", "1"]


def test_what_the_users_variable_traces_is_traced():
    """NXF_TRACE counts unless `-trace` is given, as with Nextflow: our own `-trace` does not hide it."""
    environ = {"NXF_TRACE": "nextflow.Session, nextflow.file"}
    for words, traced in ([], "nextflow.Session,nextflow.file"), (["-trace", "a.b"], "a.b"):
        made = argv(["nextflow"], RUN, parse([*words, "main.nf"]), environ)
        assert made[made.index("-trace") + 1] == f"{traced},nextflow.processor.PublishDir"


def test_owned_options_are_taken_out():
    """-name, -log, -bg, -w, -ansi-log and -resume are nfresume's."""
    parsed = parse(["main.nf", "-name", "My Run", "-log", "x.log", "-bg", "-w", "/w", "-ansi-log", "false",
                    "-resume"])
    assert (parsed.name, parsed.log, parsed.background, parsed.work_dir) == ("My Run", "x.log", True, "/w")
    assert parsed.resume == ""
    assert parsed.after == ()


@pytest.mark.parametrize(
    "words",
    [["main.nf", "--x", "a\nb"], ["main.nf", "a\0b"], ["main.nf", "-profile"], ["main.nf", "-help"],
     ["main.nf", "-profile", "--x"], ["main.nf", "-r", "-latest"],
     ["main.nf", "--x", "y" * 200_000], ["main.nf", "a\rb"]],
)
def test_bad_words_are_refused(words):
    """Case 63: line breaks, NUL, missing values and very long words are refused."""
    with pytest.raises(UsageError):
        parse(words)


def test_resume_takes_a_session_but_not_the_pipeline():
    """`-resume main.nf` is -resume without a value; `-resume UUID main.nf` has one: Nextflow's own rule."""
    uuid = "0f8d3a52-7e3d-4f7e-9a4e-2f1f6c1d2b3a"
    assert parse(["-resume", "main.nf"]).resume == ""
    assert parse(["-resume", "my-script"]).pipeline == "my-script"
    assert parse(["main.nf", "-resume", uuid]).resume == uuid
    assert parse([".", "--outdir", ".", "-resume"]).words == (".", "--outdir", ".")
    assert parse(["-N", "-resume", "main.nf"]).words == ("main.nf", "-N")  # -N must not take the pipeline


def test_a_relaunch_changes_only_what_is_named():
    """Options given again replace the old ones; the rest stays, in order."""
    before = parse(["main.nf", "-profile", "a", "--x", "1", "--y", "2", "-log", "t.txt", "-with-docker"])
    after = merge(before, parse(["--x", "3", "-r", "v2", "-without-docker"]))
    assert after.pipeline == "main.nf"
    assert [w for o in after.pieces for w in o.words] == [
        "main.nf", "-profile", "a", "--y", "2", "--x", "3", "-r", "v2", "-without-docker",
    ]
    assert after.log == "t.txt"
    assert parse(after.words).value("--x") == "3"


def test_a_relaunch_knows_other_spellings():
    """`--max-memory` and `--maxMemory` are one parameter, `-config` and `-c` one option."""
    after = merge(parse(["main.nf", "--max-memory", "4", "-c", "a"]),
                  parse(["--maxMemory", "8", "-config", "b"]))
    assert after.words == ("main.nf", "--maxMemory", "8", "-config", "b")


WORDS = st.lists(st.sampled_from([
    *sorted(FLAGS - {"-ansi", "-bg", "-h", "-help", "-with-agent-trace"}),
    *sorted(OPTIONAL_VALUE - {"-ansi-log"}),
    "-profile", "-params-file", "-c", "-config", "-r", "-main-script", "-entry", "-plugins", "-cache",
    "-without-podman", "-hub", "-q", "-C", "-trace", "main.nf", "x", "-q 20 -u 3", "-5", "-1e3", "-", "-x y",
    "a b", "", "true", "last", "0f8d3a52-7e3d-4f7e-9a4e-2f1f6c1d2b3a", "-.5", "-5.", "-0x1", "--y", "--y=1",
    "--max-memory", "--z=", "-process.cpus", "-process.x=1", "-executor.queueSize", "-cluster.x", "-e.A=b",
    "--_u=1", "a,b", "-1 ", "--a\u2028b", "--\u0663", "-D", "-DA=b",
]), max_size=8)


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(first=WORDS, second=WORDS)
def test_options_survive_being_stored_and_merged(first, second):
    """Options that are stored for a relaunch, or merged with others, parse to the same options again."""
    try:
        before, override = parse(first), parse(second)
    except UsageError:
        assume(False)
    again = parse(before.words)
    assert (again.before, again.pieces, again.pipeline) == (before.before, before.pieces, before.pipeline)
    merged = merge(parse(["main.nf", *first]), override)  # an attempt has a pipeline
    read = parse(merged.words)
    assert [(o.name, o.value) for o in read.after] == [(o.name, o.value) for o in merged.after]
    assert (read.pipeline or merged.pipeline, read.value("-profile")) == (
        merged.pipeline, merged.value("-profile"))


@pytest.mark.parametrize(
    ("text", "remote"),
    [("nf-core/rnaseq", True), ("https://x/y.git", True), ("git@h:a/b", True), ("hello", True),
     ("owner/repo/script.nf", True), ("file:/r.git", True), ("main.nf", False), ("./a/b", False),
     ("/a/b", False), ("..", False), ("flow.py:run", True)],
)
def test_remote_pipelines(text, remote):
    """What Nextflow would look for in a repository if no such file exists (nextflow#1492, nextflow#2541)."""
    assert is_remote(text) is remote


def _split(words, command=launch, positional=0):
    import typer

    app = typer.Typer()
    app.command("x")(command)
    params = typer.main.get_command(app).params
    return split(words, params, positional)


@pytest.mark.parametrize(
    ("words", "ours", "theirs"),
    [
        (["--detach", "main.nf", "--x", "1"], ["--detach"], ["main.nf", "--x", "1"]),
        (["main.nf", "--storage-expiration-hours", "5", "--x", "1"],
         ["--storage-expiration-hours", "5"], ["main.nf", "--x", "1"]),
        (["-profile", "test", "--metadata", "m", "main.nf", "--metadata", "x.csv"],
         ["--metadata", "m"], ["-profile", "test", "main.nf", "--metadata", "x.csv"]),
        (["main.nf", "--json"], [], ["main.nf", "--json"]),
        (["main.nf", "--account", "x"], [], ["main.nf", "--account", "x"]),
        (["main.nf", "--", "--detach"], [], ["main.nf", "--detach"]),
        (["--storage-expiration-hours=2", "-q", "main.nf"], ["--storage-expiration-hours=2"],
         ["-q", "main.nf"]),
        (["--outdir", "r", "--pin", "main.nf", "--x", "a --pin"], ["--pin"],
         ["--outdir", "r", "main.nf", "--x", "a --pin"]),
        (["-resume", "main.nf", "--json", "1"], [], ["-resume", "main.nf", "--json", "1"]),
    ],
)
def test_whose_option_is_it(words, ours, theirs):
    """nfresume's options go before the pipeline; three of them may be anywhere."""
    assert _split(words) == (ours, theirs)


def test_a_relaunch_has_an_id_in_front():
    """In `relaunch ID --max_memory 4` the id is nfresume's, and the parameter the pipeline's."""
    assert _split(["--json", "abc", "--pipeline", "m.nf", "--x", "1"], relaunch, 1) == (
        ["--json", "--pipeline", "m.nf"], ["abc", "--x", "1"],
    )
