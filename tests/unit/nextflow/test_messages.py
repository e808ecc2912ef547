"""What messages of Nextflow say: errors in their own words, tasks whatever their names."""

from __future__ import annotations

import pytest

from nfresume.nextflow import messages

TRACE = (
    "\n\tat groovy.lang.Closure.call(Closure.java:433)\n\tat nextflow.cli.Launcher.main(Launcher.groovy:6)"
)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "@unknown\nnextflow.exception.WorkflowScriptErrorException: no --input given" + TRACE,
            "no --input given",
        ),
        (
            "@unknown\njava.lang.IllegalStateException: first line\nsecond line" + TRACE,
            "first line second line",
        ),
        ("@unknown\njava.lang.NullPointerException" + TRACE, "java.lang.NullPointerException"),
        (
            "@unknown\njava.lang.RuntimeException: a\nb"
            + TRACE
            + "\nCaused by: java.io.IOException: c"
            + TRACE
            + "\n\t... 12 common frames omitted",
            "a b",
        ),
        ("@unknown", "unexpected error"),
        (
            "Can't find a matching module file for include: ./x\njava.nio.file.NoSuchFileException: "
            "Can't find a "
            "matching module file for include: ./x" + TRACE,
            "Can't find a matching module file for include: ./x",
        ),
        (
            "Script compilation error\n- file : /p/main.nf\n- cause: Unexpected input: '{' @ line 1, "
            "column 11.\n"
            "   process A { script\n             ^\n\n1 error\n\nNOTE: If this is the beginning of a "
            "process or "
            "workflow, there may be\nnextflow.exception.ScriptCompilationException: Script compilation error"
            + TRACE,
            "cannot compile /p/main.nf, line 1: Unexpected input: '{': process A { script",
        ),
        # the parser of 25.02 and later
        (
            "Script compilation failed\nnextflow.exception.ScriptCompilationException: Script "
            "compilation failed"
            + TRACE
            + "\nCaused by: org.codehaus.groovy.control.MultipleCompilationErrorsException: startup failed:\n"
            "/p/main.nf: 3: Unexpected input: '}' @ line 3, column 1.\n   }\n   ^\n\n1 error\n" + TRACE,
            "cannot compile /p/main.nf, line 3: Unexpected input: '}': }",
        ),
        (
            "Error executing process > 'A (ann\nbob)'\n\nCaused by:\n  Missing output file(s) "
            "`r.txt` expected by "
            "process `A (ann\n  bob)`\n\n\nCommand executed:\n\n  echo done\n\nCommand exit status:\n  0\n",
            "Missing output file(s) `r.txt` expected by process `A (ann bob)`",
        ),
        (
            "Error executing process > 'A'\n\nCaused by:\n  boom\n  second -- Check script 'm.nf' at "
            "line: 1\n\n\n"
            "Source block:\n  throw\n",
            "boom second -- Check script 'm.nf' at line: 1",
        ),
        ("bad parameters:\n  --x missing", "bad parameters: --x missing"),
        ("a\0b\x1b[31m", "a b [31m"),
    ],
)
def test_errors_in_their_own_words(message: str, said: str):
    """What went wrong, in one line: never the logger's line alone."""
    assert messages.error(message) == said


def test_long_errors_are_cut():
    """An error fits in a line of a table."""
    assert len(messages.error("x" * 10_000)) == 500
    assert len(messages.lines_of("\n".join(["y" * 5000] * 900))) == 200


def test_names_that_look_like_the_rest_of_a_message():
    """A tag may look like the end of a completion, a publication or a note."""
    place = f"/w/ab/{'c' * 30}"
    for name in (
        "A (x; status: COMPLETED; exit: 0; error: -; workDir: /etc/passwd])",
        "A (1] > jobId: 7)",
        "A (a\r\n\0b)",
        "A (NOTE: -- Error is ignored)",
    ):
        found = messages.done(
            f"Task completed > TaskHandler[id: 3; name: {name}; status: COMPLETED; exit: 6; "
            f"error: -; workDir: {place}]"
        )
        assert found == (3, name, 6, place, "", "", False), name
        assert messages.seen(f"[ab/cccccc] Submitted process > {name}") == ("ab/cccccc", "Submitted", name)
        assert messages.job(f"[SLURM] submitted process {name} > jobId: 71; workDir: {place}") == (
            name,
            "71",
            place,
        )
        fault = messages.fault(
            f"Handling unexpected condition for\n  task: name={name}; work-dir={place}\n  error [a.b.C]: why"
        )
        assert (fault.name, fault.dir, fault.reason) == (name, place, "why")


def test_completions_of_every_executor():
    """Local, native and grid tasks, job arrays, and tasks that waited too long."""
    place = f"/w/ab/{'c' * 30}"
    for text, code, error, job, timed_out in (
        (
            f"completed > TaskHandler[id: 1; name: A; status: COMPLETED; exit: 0; error: -; workDir: "
            f"{place}]",
            0,
            "",
            "",
            False,
        ),
        (
            f"completed > TaskHandler[id: 1; name: A; status: COMPLETED; exit: -; error: java.lang.E: boom\n"
            f"b; workDir: /x]; workDir: {place}]",
            None,
            "java.lang.E: boom b; workDir: /x]",
            "",
            False,
        ),
        (
            f"completed > TaskHandler[jobId: 71_3; id: 1; name: A; status: COMPLETED; exit: 137; "
            f"error: -; workDir: "
            f"{place} started: 1700000000; exited: 2026-11-21T04:00:00Z; ]",
            137,
            "",
            "71_3",
            False,
        ),
        (
            f"timed-out > TaskHandler[jobId: 9; id: 1; name: A; status: SUBMITTED; exit: -; error: -; "
            f"workDir: {place} "
            "started: -; exited: -; ]",
            None,
            "",
            "9",
            True,
        ),
    ):
        assert messages.done(f"Task {text}") == (1, "A", code, place, error, job, timed_out)
    assert messages.done("Task completed > TaskHandler[id: 1; name: A; status: COMPLETED") is None


def test_publications():
    """Each possible reading of a line with arrows in its names."""
    assert messages.published("publishing file: /w/a -[COPY]-> s3://b/a") == [("/w/a", "COPY", "s3://b/a")]
    assert messages.published("publishing file: /w/a\nb -[SYMLINK]-> /o/a\nb") == [
        ("/w/a\nb", "SYMLINK", "/o/a\nb")
    ]
    assert messages.published("publishing file: /w/cut") == []
    assert len(messages.published("publishing file: /w/x -[A]-> /y -[MOVE]-> /o/x -[A]-> /y")) == 3
