"""Signals to a command that follows a run: whatever comes when, the run does not go on by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from nfresume.nextflow import command
from nfresume.store import Store, queries
from tests.conftest import BIN, Site, until

pytestmark = pytest.mark.slow

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
ORDERS = [(first, second) for first in (INT, TERM, HUP) for second in (INT, TERM, HUP)]
KEPT = ("--storage-expiration-hours", "1")
SLEEPING = "process A { script: 'echo a line; sleep 100' }\nworkflow { A() }\n"


def launch(site: Site) -> subprocess.Popen[str]:
    (site.launch_dir / "main.nf").write_text(SLEEPING)
    return site.start("launch", "main.nf", *KEPT)


def states(site: Site) -> list[str]:
    """The states of all executions; none if there is no database yet."""
    if not (site.base / "state.db").exists():
        return []
    store = Store.open(site.env["NFRESUME_DATABASE_URL"])
    try:
        with store.begin(write=False) as tx:
            return [str(e.state) for e in queries.newest(tx, "team", limit=10)]
    finally:
        store.close()


def told_that_it_runs(child: subprocess.Popen[str]) -> str:
    """Wait until the command says which execution it has started; returns what it has said."""
    assert child.stderr is not None
    said = b""  # read without a buffer, so that `communicate` gets all of the rest
    while b"execution " not in said:
        more = os.read(child.stderr.fileno(), 4096)
        assert more, f"it ended: {said.decode()}"
        said += more
    return said.decode()


def ended(site: Site, child: subprocess.Popen[str]) -> str:
    """Wait for the end of the command, and then of all that it started; returns the rest of stderr."""
    _, err = child.communicate(timeout=60)
    assert child.returncode != 0
    assert "Traceback" not in err
    until(lambda: set(states(site)) <= {"CANCELLED"}, 60, "the cancel")
    until(lambda: site.processes() == [], 30, "the end of all processes")
    return err


@pytest.mark.parametrize("order", [
    pytest.param(o, id="-".join(n.name for n in o), marks=() if o == (INT, TERM) else pytest.mark.long)
    for o in ORDERS])
@pytest.mark.parametrize("running", [False, pytest.param(True, marks=pytest.mark.long)])
def test_two_signals_within_a_moment(site: Site, order: tuple[signal.Signals, ...], running: bool):
    """Two signals that follow each other at once cancel the run; the command does not wait for its end."""
    child = launch(site)
    said = told_that_it_runs(child)
    if running:
        until(lambda: site.runs("sleep"), what="a running task")
    for number in order:
        child.send_signal(number)
    said += ended(site, child)
    assert "cancelling" in said
    assert states(site) == ["CANCELLED"]
    assert child.returncode in {1, *(128 + number for number in order)}


@pytest.mark.long
def test_signals_at_each_moment_of_a_launch(site: Site):
    """From the start of the command on there is no moment at which two signals leave a run behind."""
    for step in range(24):
        child = launch(site)
        time.sleep(0.06 * step)  # not a hope: whatever has happened by then, the result is the same
        for number in ORDERS[step % len(ORDERS)]:
            child.send_signal(number)
        ended(site, child)


@pytest.mark.long
def test_one_signal_and_a_reader_that_takes_nothing(site: Site):
    """A run is cancelled although nobody reads what it prints, as in `nfresume launch | less`."""
    (site.launch_dir / "main.nf").write_text(
        "process A { script: 'sleep 100' }\nworkflow { A(); 5000.times { println 'x' * 100 } }\n")
    child = site.start("launch", "main.nf", *KEPT)
    told_that_it_runs(child)
    until(lambda: site.runs("sleep"), what="a running task")
    out = Path(site.show()["work_dir"]["path"]).parent / "attempts/1" / command.STDOUT
    until(lambda: out.stat().st_size > 400_000, what="more output than a pipe holds")
    child.send_signal(INT)
    until(lambda: states(site) == ["CANCELLED"], 60, "the cancel")
    assert child.wait(30) == 1


def test_a_reader_that_goes_away(site: Site):
    """`nfresume launch main.nf | head -1`: the run and the command go on to the end, as with Nextflow."""
    (site.launch_dir / "main.nf").write_text(
        "process A { publishDir 'results', mode: 'copy'; output: path 'a'; script: 'sleep 2; touch a' }\n"
        "workflow { A() }\n")
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "{BIN}/nfresume" launch main.nf 2>&1 | head -1'],
        cwd=site.launch_dir, env=site.env, text=True, capture_output=True, timeout=100, check=False)
    assert (done.returncode, (site.launch_dir / "results/a").exists()) == (0, True)
    assert states(site) == ["SUCCEEDED"]


@pytest.mark.long
def test_closed_standard_streams(site: Site):
    """With closed descriptors a run is what it is with /dev/null; no file of ours gets their numbers."""
    (site.launch_dir / "main.nf").write_text("workflow { println 'x' }\n")
    for closed in (">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
        done = subprocess.run(["bash", "-c", f'"{BIN}/nfresume" launch main.nf {closed}'], env=site.env,
                              cwd=site.launch_dir, text=True, capture_output=True, timeout=100, check=False)
        assert done.returncode == 0, (closed, done.stderr)
        assert "Traceback" not in done.stderr
        assert ("\nx\n" in done.stdout) == (">&-" not in closed.split())
    assert states(site) == ["SUCCEEDED"] * 4


@pytest.mark.long
def test_a_detached_launch_that_is_interrupted(site: Site):
    """`launch --detach` that is interrupted either has started nothing, or cancels, or has told the id."""
    (site.launch_dir / "main.nf").write_text(SLEEPING)
    for step in range(12):
        child = site.start("launch", "--detach", "main.nf", *KEPT)
        time.sleep(0.06 * step)
        with_signal = child.poll() is None
        child.send_signal(TERM)
        out, err = child.communicate(timeout=60)
        assert "Traceback" not in err
        if child.returncode == 0 and with_signal:
            assert out.strip()
        if out.strip():
            site.run("cancel", out.strip())
        until(lambda: set(states(site)) <= {"CANCELLED"}, 60, "the cancel")


def test_a_terminal_that_is_closed(site: Site):
    """A terminal that goes away ends the run, as it ends `nextflow run`, and leaves no process."""
    import pty

    (site.launch_dir / "main.nf").write_text(SLEEPING)
    pid, control = pty.fork()
    if pid == 0:
        os.chdir(site.launch_dir)
        os.execve(str(BIN / "nfresume"), ["nfresume", "launch", "main.nf", *KEPT], site.env)
    until(lambda: site.runs("sleep"), what="a running task")
    assert psutil.Process(pid).is_running()
    os.close(control)
    _, status = os.waitpid(pid, 0)
    assert status != 0
    until(lambda: states(site) == ["CANCELLED"], 60, "the cancel")
    until(lambda: site.processes() == [], 30, "the end of all processes")


@pytest.mark.long
def test_a_script_that_passes_its_signal_on(site: Site):
    """nextflow#3509: a batch job that runs the command with `&` and passes its SIGTERM on ends the run."""
    (site.launch_dir / "main.nf").write_text("process A { script: 'sleep 100' }\nworkflow { A() }\n")
    (site.launch_dir / "job.sh").write_text(
        f'trap \'kill -TERM $child\' TERM\n"{BIN}/nfresume" launch main.nf & child=$!\nwait $child\n'
        "wait $child\nexit $?\n")
    job = subprocess.Popen(["bash", "job.sh"], cwd=site.launch_dir, env=site.env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: site.runs("sleep"), what="a running task")
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 1
    assert site.show()["state"] == "CANCELLED"
    assert not site.runs("sleep")


@pytest.mark.long
def test_in_the_background_of_a_terminal(site: Site):
    """nextflow#1221, wf-single-cell#184: `nfresume launch ... &` on a terminal is not stopped by it."""
    import pty

    (site.launch_dir / "main.nf").write_text("workflow { println 'said' }\n")
    pid, control = pty.fork()
    if pid == 0:
        os.chdir(site.launch_dir)
        script = f"set -m; stty tostop; '{BIN}/nfresume' launch main.nf > out 2> err & wait; cat out; exit 7"
        os.execve("/bin/bash", ["bash", "--norc", "-c", script], site.env)
    seen = b""
    try:
        while more := os.read(control, 4096):
            seen += more
    except OSError:  # the terminal is closed by its last process
        pass
    _, status = os.waitpid(pid, 0)
    os.close(control)
    assert os.waitstatus_to_exitcode(status) == 7
    assert b"said" in seen
    assert site.show()["state"] == "SUCCEEDED"
