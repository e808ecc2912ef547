"""The words of a launch, split as Nextflow 24.10.5 splits them."""

import pytest

from nfresume.cli.launching import launch, relaunch, split
from nfresume.domain.errors import UsageError
from nfresume.nextflow.options import is_remote, merge, parse, without_resume


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
    ],
)
def test_users_options_pass_unchanged(words):
    """All words that nfresume does not own reach Nextflow unchanged and in order."""
    parsed = parse(words)
    assert [parsed.pipeline, *(w for o in parsed.after for w in o.words), *parsed.extra] == words


def test_global_options_go_before_run():
    """-C, -q and the like go before the word `run`, wherever the user wrote them."""
    parsed = parse(["-q", "main.nf", "-C", "only.config", "--x", "1"])
    assert [w for o in parsed.before for w in o.words] == ["-q", "-C", "only.config"]


def test_owned_options_are_taken_out():
    """-name, -log, -bg and -resume are nfresume's."""
    parsed = parse(["main.nf", "-name", "My Run", "-log", "x.log", "-bg", "-resume"])
    assert (parsed.name, parsed.log, parsed.background) == ("My Run", "x.log", True)
    assert parsed.resume == ""
    assert parsed.after == ()


@pytest.mark.parametrize("option", ["-w", "-work-dir"])
def test_the_work_dir_is_nfresumes(option):
    """A work dir of the user's own is refused, with a hint."""
    with pytest.raises(UsageError, match="belongs to nfresume"):
        parse(["main.nf", option, "/tmp/w"])


@pytest.mark.parametrize(
    "words",
    [["main.nf", "--x", "a\nb"], ["main.nf", "a\0b"], ["-"], ["main.nf", "-profile"], ["main.nf", "-help"],
     ["main.nf", "--x", "y" * 200_000], ["main.nf", "a\rb"]],
)
def test_bad_words_are_refused(words):
    """Case 63: line breaks, NUL, missing values and very long words are refused."""
    with pytest.raises(UsageError):
        parse(words)


def test_resume_takes_a_session_but_not_the_pipeline():
    """`-resume main.nf` is -resume without a value; in `-resume UUID main.nf` it has one."""
    uuid = "0f8d3a52-7e3d-4f7e-9a4e-2f1f6c1d2b3a"
    assert parse(["-resume", "main.nf"]).resume == ""
    assert parse(["-resume", "main.nf"]).pipeline == "main.nf"
    assert parse(["main.nf", "-resume", uuid]).resume == uuid
    assert without_resume(["main.nf", "-resume", uuid, "--x", "1"]) == ("main.nf", "--x", "1")


def test_a_relaunch_changes_only_what_is_named():
    """Options given again replace the old ones; the rest stays, in order."""
    before = parse(["main.nf", "-profile", "a", "--x", "1", "--y", "2", "-log", "t.txt"])
    after = merge(before, parse(["--x", "3", "-r", "v2"]))
    assert after.pipeline == "main.nf"
    assert [w for o in after.after for w in o.words] == [
        "-profile", "a", "--y", "2", "--x", "3", "-r", "v2",
    ]
    assert after.log == "t.txt"


def test_options_survive_being_stored():
    """Options that are stored for a relaunch parse to the same options again."""
    first = parse(["-q", "main.nf", "--x", "-5", "-log", "l", "-with-trace", "--z=1", "-stub", "extra"])
    again = parse([first.pipeline, *first.words])
    assert (again.before, again.after, again.extra) == (first.before, first.after, first.extra)
    assert again.log == first.log


@pytest.mark.parametrize(
    ("text", "remote"),
    [("nf-core/rnaseq", True), ("https://x/y.git", True), ("git@h:a/b", True), ("main.nf", False),
     ("./a/b", False), ("a/b/c", False)],
)
def test_remote_pipelines(text, remote):
    """owner/repo and URLs are remote: Nextflow downloads them."""
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
