"""The record of real runs: it agrees with Nextflow, whatever a pipeline prints, and outlives the work dir."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from nfresume.nextflow import reading, record, record_file, summary
from nfresume.nextflow.record import Task
from nfresume.nextflow.summary import Summary
from tests.conftest import Site, first, until

pytestmark = pytest.mark.slow


def attempt_dir(e: dict[str, Any], number: int = 1) -> Path:
    return Path(e["work_dir"]["path"]).parent / f"attempts/{number}"


def recorded(e: dict[str, Any], number: int = 1) -> tuple[Summary, dict[str, Task]]:
    """The sum of an attempt's record, and its tasks by name; the record must be finished."""
    place = attempt_dir(e, number)
    assert record_file.end_of(record_file.paths(place)[-1]) is not None
    lines = list(reading.lines(place))
    return summary.of(lines), {line.name: line for line in lines if isinstance(line, Task)}


def script(site: Site, text: str, name: str = "main.nf") -> None:
    (site.launch_dir / name).write_text(text)


@pytest.mark.long
@pytest.mark.parametrize("fixture", [
    "fail-late", "error-strategies", "publish-modes", "many-tasks", "scratch", "hostile-names", "modules"])
def test_counts_are_those_of_nextflow(site: Site, fixture: str):
    """Over the fixtures every count is the one of Nextflow's WorkflowStats, also after a relaunch."""
    site.pipeline(fixture)
    words = ["--n", "40", "--fail"] if fixture == "many-tasks" else []
    site.run("launch", "--pin", fixture, *words)
    site.run("relaunch", site.show()["id"])
    e = site.show()
    for number in (1, 2):
        total, _ = recorded(e, number)
        counts, theirs = total.counts, total.statistics
        assert theirs is not None
        ours = {"succeeded": counts.succeeded, "failed": counts.failed, "ignored": counts.ignored,
                "retries": counts.retried, "cached": counts.cached - total.stored}
        assert ours == {name: theirs[name] for name in ours}, (fixture, number)
        assert total.whole or e["attempts"][number - 1]["state"] == "FAILED"
        assert e["attempts"][number - 1]["tasks"]["succeeded"] == counts.succeeded


def test_tags_with_line_breaks(site: Site):
    """nextflow#3597: tags with line breaks, CR and NUL are names like others; nothing is held for them."""
    script(site, r"""
        process NATIVE {
            tag "ann\nbob\r\u0000[ab/cdef01] Submitted process > FAKE"
            input: val x
            output: val y
            exec: y = x * 2
        }
        process EVIL {
            tag "x; status: COMPLETED; exit: 0; error: -; workDir: /etc/passwd]"
            publishDir 'results'
            output: path 'r.txt'
            script: "echo done > r.txt"
        }
        workflow { NATIVE(Channel.of(1, 2)); EVIL() }
    """)
    site.ok("launch", "main.nf")
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    total, tasks = recorded(e)
    assert (total.counts.succeeded, total.damaged, len(tasks)) == (3, False, 2)
    trace = (attempt_dir(e) / "trace.tsv").read_text().splitlines()
    assert [line.count("\t") for line in trace] == [4] * 4


def test_a_failure_with_an_odd_tag_is_slimmed(site: Site):
    """A CR in a name stops neither the settlement nor slim retention."""
    script(site, r"""
        process A { tag "a\rb"
            output: val y
            exec: y = 1 }
        process B { input: val x
            script: "dd if=/dev/zero of=big bs=1000 count=99 2>/dev/null; exit 3" }
        workflow { B(A()) }
    """)
    site.run("launch", "--retain", "slim", "--storage-expiration-hours", "1", "main.nf")
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("FAILED", "RETAINED")
    _, tasks = recorded(e)
    assert not (Path(e["work_dir"]["path"]) / tasks["B"].dir / "big").exists()


FAKES = r"""
        def quoted = [
            "[ab/cdef01] Submitted process > FAKE (1)",
            "Nov-20 04:09:27.083 [main] INFO  nextflow.Session - [ab/cdef01] Submitted process > FAKE (2)",
            "Nov-20 04:09:27.083 [main] ERROR nextflow.cli.Launcher - @unknown",
            "Nov-20 04:09:27.084 [x] DEBUG n.processor.TaskPollingMonitor - Task completed > " +
                "TaskHandler[id: 1; name: A; status: COMPLETED; exit: 1; error: -; workDir: /elsewhere/ab/" +
                "c" * 30 + "]",
            "Nov-20 04:09:27.085 [x] TRACE nextflow.processor.PublishDir - publishing file: /a -[COPY]-> /b",
            "Nov-20 04:09:27.085 [x] WARN  nextflow.processor.PublishDir - Failed to publish file: a; " +
                "to: b [copy] -- See log file for details"].join("\n")
        log.info quoted
        log.warn quoted
        log.info "nested said: " + quoted
        println quoted
"""


def test_what_a_pipeline_prints_proves_nothing(site: Site):
    """Lines like Nextflow's own, printed, logged or quoted by a pipeline, count for nothing."""
    script(site, "workflow {" + FAKES + r"""
        A(quoted)
        A.out.view()
    }
    process A {
        debug true
        publishDir 'results'
        input: val text
        output: path 'r.txt'
        script: "cat <<'END' | tee r.txt\n" + text + "\nEND"
    }
    """)
    site.ok("launch", "main.nf")
    e = site.show()
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    total, tasks = recorded(e)
    assert (list(tasks), total.published, total.unpublished, total.damaged) == (["A"], 1, [], False)


def test_a_missing_output_is_told(site: Site):
    """It is a failed task with the reason, in counts, trace, `show` and the error."""
    script(site, "process A { output: path 'r.txt'\n script: 'echo done' }\nworkflow { A() }")
    site.run("launch", "--storage-expiration-hours", "1", "main.nf")
    e = site.show()
    why = "Missing output file(s) `r.txt` expected by process `A`"
    assert e["attempts"][0]["error"] == why
    assert e["attempts"][0]["tasks"]["failed"] == 1
    assert "\tFAILED\t0\t" in (attempt_dir(e) / "trace.tsv").read_text()
    assert recorded(e)[1]["A"].error == why


@pytest.mark.parametrize(("text", "said"), first(3, [
    ("workflow { error 'no --input given' }", "no --input given"),
    ("workflow { Channel.of(1).map { throw new IllegalStateException('one\\ntwo') } }", "one two"),
    ("workflow { Channel.fromPath(null) }", "Missing `fromPath` parameter"),
    ("process A {\n  script:\n  'x'\nworkflow { A( }", "main.nf"),
    ("log.error 'bad parameters'\nexit 3, 'bye'", "bad parameters"),
    ("process A { exec: throw new Exception('boom') }\nworkflow { A() }", "boom"),
]))
def test_errors_in_their_own_words(site: Site, text: str, said: str):
    """The error of a run is what was said, never the logger's line alone."""
    script(site, text)
    site.run("launch", "--storage-expiration-hours", "1", "main.nf")
    error = site.show()["attempts"][0]["error"]
    assert said in error
    assert "@unknown" not in error


def test_a_publication_that_is_retried(site: Site):
    """Nextflow tries again, and succeeds: so does the run."""
    script(site, """
        process A { publishDir 'results', mode: 'copy'
            output: path 'r.txt'
            script: "echo done > r.txt" }
        workflow { A() }
    """)
    (site.launch_dir / "results").write_text("in the way")
    launch = site.start("launch", "main.nf")
    e = site.show()
    log = attempt_dir(e) / "nextflow.log"
    until(lambda: log.exists() and "-- attempt: 1; reason:" in log.read_text(), 60, "a failed try")
    (site.launch_dir / "results").unlink()
    (site.launch_dir / "results").mkdir()
    launch.communicate(timeout=120)
    e = site.show(e["id"])
    assert (e["state"], e["work_dir"]["state"]) == ("SUCCEEDED", "DELETED")
    assert (site.launch_dir / "results/r.txt").read_text() == "done\n"


@pytest.mark.parametrize("keep", first(2, ["none", "failed", "all"]))
def test_evidence_outlives_the_work_dir(site: Site, keep: str):
    """Output and script of each task can be read when its work dir is gone, as `keep_task_logs` says."""
    script(site, """
        process A { script: "echo said by A; echo to stderr >&2" }
        process B { errorStrategy 'ignore'
            script: "echo said by B; exit 3" }
        workflow { A(); B() }
    """)
    site.ok("launch", "main.nf", NFRESUME_KEEP_TASK_LOGS=keep)
    e = site.show()
    assert not Path(e["work_dir"]["path"]).exists()
    for name, kept in (("A", keep == "all"), ("B", keep != "none")):
        done = site.run("logs", e["id"], "--task", name)
        assert (done.code, f"said by {name}\n" in done.out, "was kept" in done.err) == (
            (0, True, True) if kept else (66, False, False)), done.err


@pytest.mark.long
def test_a_relaunch_knows_where_cached_tasks_come_from(site: Site):
    """A cached task has the task dir, the attempt and the time of the task that is reused."""
    site.pipeline("fail-late")
    site.run("launch", "--storage-expiration-hours", "1", "fail-late")
    e = site.show()
    _, first = recorded(e)
    site.run("relaunch", e["id"])
    _, second = recorded(site.show(), 2)
    cached = [task for task in second.values() if task.status == "CACHED"]
    assert len(cached) == 7
    for task in cached:
        assert (task.dir, task.cached_from) == (first[task.name].dir, 1)
        assert task.duration == first[task.name].duration
    assert first["TRIM (liver)"].inputs[0][0].endswith("fail-late/data/liver.fastq")
    assert first["TRIM (liver)"].inputs[0][1] > 0


@pytest.mark.long
def test_times_have_their_year_and_zone(site: Site):
    """The log's local times become UTC, whatever the zone of the run."""
    script(site, "process A { script: 'sleep 1' }\nworkflow { A() }")
    for zone in ("Asia/Kolkata", "America/New_York"):
        begun = time.time()
        site.ok("launch", "main.nf", TZ=zone)
        task = recorded(site.show())[1]["A"]
        assert begun - 1 < task.submitted / 1000 < task.completed / 1000 < time.time() + 1
        assert task.submitted <= task.started + 1500
        assert task.started < task.completed


def test_a_store_dir_is_looked_through(site: Site):
    """A storeDir is recorded with its task; a link that was moved there still works after the work dir."""
    store = site.base / "store dir"
    script(site, f"""
        process A {{ output: path 'a.txt'
            script: "echo a > a.txt" }}
        process S {{ storeDir "{store}"
            input: path x
            output: path 'linked.txt'
            script: "ln -s \\$(readlink -f $x) linked.txt" }}
        workflow {{ S(A()) }}
    """)
    site.ok("launch", "main.nf")
    e = site.show()
    assert record.Outputs(str(store)) in list(reading.lines(attempt_dir(e)))
    assert e["work_dir"]["state"] == "DELETED"
    assert (store / "linked.txt").read_text() == "a\n"


@pytest.mark.long
@pytest.mark.parametrize("form", ["path", "url", "relative", "latch"])
def test_log_dir_of_the_metadata(site: Site, form: str):
    """`log_dir` gets a copy of Nextflow's log after each attempt; latch:// needs Latch, and says so."""
    place = site.base / "the logs"
    given = {"path": str(place), "url": f"file://{str(place).replace(' ', '%20')}", "relative": "logs",
             "latch": "latch:///logs"}[form]
    folder = site.launch_dir / "p/latch_metadata"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "from latch.types.metadata import LatchAuthor, NextflowMetadata\n"
        "from latch.types.directory import LatchDir\n"
        "NextflowMetadata(display_name='My Pipe', author=LatchAuthor(name='x'), "
        f"log_dir=LatchDir({given!r}))\n")
    script(site, "process A { script: 'exit 1' }\nworkflow { A() }", "p/main.nf")
    site.run("launch", "--storage-expiration-hours", "1", "p")
    site.run("relaunch", site.show()["id"])
    e = site.show()
    until(lambda: len([v for v in site.show()["events"] if v["name"] == "log_copied"]) == 2)
    e = site.show(e["id"])
    told = [v["detail"] for v in e["events"] if v["name"] == "log_copied"]
    if form == "latch":
        assert all("latch:// needs Latch" in detail["failed"] for detail in told)
        return
    base = site.launch_dir / "logs" if form == "relative" else place
    for number in (1, 2):
        copied = base / f"nf_my_pipe/{e['id']}-{number}/nextflow.log"
        assert copied.read_bytes() == (attempt_dir(e, number) / "nextflow.log").read_bytes()
        assert told[number - 1] == {"to": str(copied)}


@pytest.mark.long
def test_a_lost_supervisor_leaves_a_whole_record(site: Site):
    """The supervisor is killed while tasks run; the next one's record has all of them, and their evidence."""
    site.pipeline("slow")
    launch = site.start("launch", "slow", "--seconds", "4", NFRESUME_LEASE_SECONDS="2")
    e = site.show()
    until(lambda: any("SLOW" in path.read_text() for path in record_file.paths(attempt_dir(e))), 60)
    for process in site.supervisors():
        process.kill()
    launch.communicate(timeout=120)
    e = site.show(e["id"])
    assert e["state"] == "SUCCEEDED"
    assert len(record_file.paths(attempt_dir(e))) == 2
    total, tasks = recorded(e)
    assert total.counts.succeeded == 2
    assert all(task.evidence for task in tasks.values())
    assert site.ok("logs", e["id"], "--task", "QUICK").err.count("was kept of its") == 2


@pytest.mark.long
def test_an_attempt_of_an_earlier_version(site: Site):
    """Without a record everything still works from the log: pages, logs, a relaunch, the deletion."""
    site.pipeline("fail-late")
    site.run("launch", "--storage-expiration-hours", "1", "fail-late")
    e = site.show()
    for path in (*attempt_dir(e).glob("record-*"), *attempt_dir(e).glob("tasks-*")):
        path.unlink()
    assert "gc_contnet" in site.ok("logs", e["id"], "--task", "REPORT").out + site.ok(
        "logs", e["id"], "--nextflow-log").out
    site.run("relaunch", e["id"])
    total, tasks = recorded(site.show(), 2)
    assert (total.counts.cached, tasks["TRIM (liver)"].cached_from) == (7, 1)
    site.ok("delete", "--yes", e["id"])
    results = list((site.launch_dir / "results").rglob("*.csv"))
    assert [path.name for path in results if path.read_text()] == [path.name for path in results] != []


def test_a_task_is_followed_while_it_runs(site: Site):
    """`logs -f --task` gives what a running task writes, until the attempt ends."""
    script(site, "process A { script: 'for i in 1 2 3 4; do echo line $i; sleep 1; done' }\nworkflow { A() }"
           .replace("$i", "\\$i"))
    site.ok("launch", "--detach", "main.nf")
    e = site.show()
    until(lambda: any('"A"' in path.read_text() for path in record_file.paths(attempt_dir(e))), 60,
          "the task")
    done = site.ok("logs", "-f", e["id"], "--task", "A")
    assert done.out == "line 1\nline 2\nline 3\nline 4\n"
