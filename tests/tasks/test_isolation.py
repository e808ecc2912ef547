"""Each task has a file system of its own where it writes outside of its folder."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from nfresume.tasks.copies import MAX_BYTES
from nfresume.tasks.sharing import LOCK
from tests.conftest import BIN, ORDINARY_USER, Site, privileged, until
from tests.tasks.conftest import WORKFLOWS, put

#: Environments by name: the words before the command. In the last one the kernel refuses mount namespaces.
WAYS = {
    "as it is": [],
    "an ordinary user": ORDINARY_USER,
    "no namespaces": ["unshare", "--user", "--map-root-user", "sh", "-c",
                      'echo 0 > /proc/sys/user/max_mnt_namespaces && exec "$@"', "sh"],
}
CORPUS = Path(__file__).parents[1] / "workflows/corpus"
LEFT = (Path("/root/rooted"), Path("/tmp/rooted.txt"))


def left() -> list[Path]:
    """What is left in /root and /tmp, when no task that shares them is at work."""
    LOCK.touch()
    with open(LOCK) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return [path for path in LEFT if os.path.lexists(path)]


def launch(site: Site, way: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    if way != "as it is" and not privileged():
        pytest.skip("needs root, to become another user")
    if way == "an ordinary user":
        subprocess.run(["chmod", "-R", "a+rwX", str(site.base)], check=True)
    return subprocess.run([*WAYS[way], str(BIN / "nfresume"), "launch", *words], cwd=site.launch_dir,
                          env={**site.env, **env}, text=True, capture_output=True, timeout=200)


@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.long] if "user" in way else [])
                                 for way in WAYS])
def test_one_absolute_path(site: Site, way: str):
    """Eight calls of a map that write the same paths of /root and /tmp give each its own result."""
    put(site, "rooted.py")
    done = launch(site, way, "--jobs", "8", "rooted.py:mapped")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [" ".join([str(n)] * 4) for n in range(8)]
    assert left() == []
    said = "tasks share /root and /tmp here (unshare: too many namespaces; see /proc/sys/user): those that " \
           "write there run one at a time"
    assert (said in done.stderr) == (way == "no namespaces"), done.stderr
    assert [p for p in (site.root / "team").rglob("*") if p.name in (".private", ".inputs")] == []


TOOLS = """
import os
import subprocess
from pathlib import Path

from latch import small_task, workflow
from latch.types import LatchDir


@small_task
def called() -> LatchDir:
    subprocess.run(["tools/hello", "made.txt"], check=True)
    subprocess.run(["./single", "other.txt"], check=True)
    subprocess.run(["sh", "steps/run.sh", "third.txt"], check=True)
    subprocess.run(["python3", "alone.py", "fourth.txt"], check=True)
    return LatchDir(os.getcwd(), "latch:///all")


@workflow
def flow() -> LatchDir:
    return called()
"""


@pytest.mark.parametrize("way", ["as it is", "no namespaces"])
def test_programs_of_the_folder(site: Site, way: str):
    """A path relative to /root names a program or script of the workflow's folder.

    None of them gets into the results.
    """
    (site.launch_dir / "wf").mkdir()
    (site.launch_dir / "wf/__init__.py").write_text(TOOLS)
    (site.launch_dir / "tools").mkdir()
    for program in (site.launch_dir / "tools/hello", site.launch_dir / "single"):
        program.write_text("#!/bin/sh\necho made > $1\n")
        program.chmod(0o755)
    (site.launch_dir / "steps").mkdir()
    (site.launch_dir / "steps/run.sh").write_text("echo made > $1\n")
    (site.launch_dir / "alone.py").write_text("import sys\nopen(sys.argv[1], 'w').write('made')\n")
    done = launch(site, way, "wf/__init__.py:flow")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(site.launch_dir / "results/all")) == [
        "fourth.txt", "made.txt", "other.txt", "third.txt"]
    assert sorted(os.listdir(site.launch_dir / "tools")) == ["hello"]


@pytest.fixture
def package(site: Site) -> Path:
    """A workflow in a package, with data beside it."""
    for folder in ("wf", "data"):
        (site.launch_dir / folder).mkdir()
    shutil.copy(WORKFLOWS / "working_in_root.py", site.launch_dir / "wf/__init__.py")
    for name in ("top.csv", "single.csv", "data/a.csv", ".secret"):
        (site.launch_dir / name).write_text("one")
    return site.launch_dir


def files_of(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.long] if "user" in way else [])
                                 for way in WAYS if way != "no namespaces"])
def test_the_working_folder_is_root(site: Site, way: str, package: Path):
    """Files of the workflow's folder lie there, copy-on-write. Relative and absolute paths name one file."""
    before = files_of(package)
    for cached in (0, 1):
        done = launch(site, way, "wf/__init__.py:flow")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [
            ["one", "one", "one", "other", "made", "mademadeotherone", "False"], ["one+", "b", "two", "b"],
            ["0", "1", "2", "3"], [
                "a.txt: a", "d.txt: 4", "deep/c.txt: 4", "deep/e.csv: one", "deep/er/b.txt: 4"]]
        results = files_of(package / "results")
        assert results == {"top.csv": "one+", "b.csv": "b", "single.csv": "two", "all/a.txt": "a",
                           "all/d.txt": "4", "all/deep/c.txt": "4", "all/deep/e.csv": "one",
                           "all/deep/er/b.txt": "4"}
        assert files_of(package) == before | {f"results/{name}": text for name, text in results.items()}
        assert site.show()["attempts"][0]["tasks"]["cached"] == cached


def test_a_work_dir_in_the_home_of_root(site: Site, package: Path):
    """It is where it was for a task to which /root is its working folder."""
    if not privileged():
        pytest.skip("needs root")
    with tempfile.TemporaryDirectory(prefix="home-", dir="/root", ignore_cleanup_errors=True) as home:
        done = launch(site, "as it is", "wf/__init__.py:flow", NFRESUME_ROOT=f"{home}/root",
                      NFRESUME_DATABASE_URL=f"sqlite:///{site.base}/other.sqlite")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[1:3] == [["one+", "b", "two", "b"], ["0", "1", "2", "3"]]


def test_what_a_failed_task_wrote(site: Site, package: Path):
    """It is in the task dir, without links into the workflow's folder."""
    done = site.run("launch", "--storage-expiration-hours", "1", "wf/__init__.py:failing")
    assert done.code == 1
    [folder] = [path.parent for path in site.root.rglob("evidence.txt")]
    assert (folder.name, os.listdir(folder)) == ("root", ["evidence.txt"])


@pytest.mark.parametrize("spelling", ["{}", "/root/{}"])
def test_the_home_of_root_is_no_result(site: Site, package: Path, spelling: str):
    """A task sees what is behind a dot in it, such as a key. Only what it wrote there may be its output."""
    if not privileged():
        pytest.skip("needs root")
    with tempfile.TemporaryDirectory(prefix=".home-", dir="/root") as home:
        Path(home, "key").write_text("secret")
        name = spelling.format(Path(home).name)
        done = site.run("launch", "wf/__init__.py:all_taken", "--name", name)
        assert done.code == 1
        assert f"its output {home} is not of this task: it is in the home of root" in done.err
        site.ok("launch", "wf/__init__.py:taken", "--name", name)
        assert files_of(package / "results") == {"taken/new.txt": "1"}
        assert files_of(Path(home)) == {"key": "secret"}


RESULTS = """
import os
from pathlib import Path

from latch import small_task, workflow
from latch.types import LatchDir


@small_task
def absolute(n: int) -> LatchDir:
    os.mkdir("/root/results")
    Path(f"/root/results/{n}").touch()
    return LatchDir("/root/results", "latch:///absolute")


@small_task
def relative(n: int) -> LatchDir:
    os.mkdir("results")
    Path(f"results/{n}").touch()
    return LatchDir("/root/results", "latch:///relative")


@workflow
def flow(n: int) -> list:
    return [absolute(n=n), relative(n=n)]
"""


@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.long] if "user" in way else [])
                                 for way in WAYS if way != "no namespaces"])
def test_results_of_earlier_launches(site: Site, way: str):
    """They lie in the workflow's folder, which is /root to its tasks. A task returns only what it wrote."""
    (site.launch_dir / "wf").mkdir()
    (site.launch_dir / "wf/__init__.py").write_text(RESULTS)
    for n in ("1", "2"):
        done = launch(site, way, "wf/__init__.py:flow", "--n", n)
        assert done.returncode == 0, done.stderr
        found = {str(path.relative_to(site.launch_dir / "results"))
                 for path in (site.launch_dir / "results").rglob("?")}
        assert found == {f"{name}/{k}" for name in ("absolute", "relative") for k in range(1, int(n) + 1)}


LINKED = """
import os
import subprocess
from pathlib import Path

from latch import small_task, workflow
from latch.types import LatchFile


@small_task
def linked() -> LatchFile:
    Path("nfresume-a.txt").write_text("mine")
    os.symlink("/root/nfresume-a.txt", "b.txt")
    return LatchFile("b.txt", "latch:///b.txt")


@small_task
def below() -> LatchFile:
    os.mkdir("real")
    Path("real/f.txt").write_text("below")
    os.symlink(os.path.abspath("real"), "latest")
    return LatchFile("latest/f.txt", "latch:///f.txt")


@small_task
def leaving(file: LatchFile) -> str:
    subprocess.Popen(["sh", "-c", "sleep 1; echo leak > /root/nfresume-leak.txt"])
    return Path(file.local_path).read_text()


@small_task
def slow(text: str) -> str:
    subprocess.run(["sleep", "2"])
    return text


@workflow
def flow() -> list:
    return [slow(text=leaving(file=linked())), below()]
"""


@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.long] if "user" in way else [])
                                 for way in WAYS if way != "no namespaces"])
def test_links_to_the_working_folder(site: Site, way: str):
    """A result behind a link to /root is the task's own file, and what a task leaves running writes there."""
    (site.launch_dir / "wf").mkdir()
    (site.launch_dir / "wf/__init__.py").write_text(LINKED)
    done = launch(site, way, "wf/__init__.py:flow")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0] == "mine"
    results = site.launch_dir / "results"
    assert {path.name: path.read_text() for path in results.rglob("*.txt")} == {
        "b.txt": "mine", "f.txt": "below"}
    assert not os.path.lexists("/root/nfresume-leak.txt")


@pytest.mark.long
def test_many_executions_of_two_accounts(site: Site):
    """Neither executions nor accounts meet in /root or /tmp."""
    put(site, "rooted.py")
    running = [site.start("launch", "--jobs", "8", "-output-dir", f"out{n}", "rooted.py:mapped", "--n",
                          str(4 + n), NFRESUME_ACCOUNT=("team", "other")[n % 2]) for n in range(4)]
    for n, child in enumerate(running):
        out, err = child.communicate(timeout=200)
        assert child.returncode == 0, err
        assert json.loads(out) == [" ".join([str(k)] * 4) for k in range(4 + n)]


@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.long] if "user" in way else [])
                                 for way in WAYS])
def test_inputs_are_not_changed(site: Site, way: str):
    """A task may edit its inputs, remove what is in them and write beside them. Only its result shows it.

    Without namespaces it gets copies of them.
    """
    put(site, "rooted.py")
    data = site.launch_dir / "data"
    (data / "folder").mkdir(parents=True)
    (data / "a.bam").write_text("reads")
    for name in ("kept", "gone"):
        (data / f"folder/{name}.txt").write_text(name)
    done = launch(site, way, "rooted.py:edited", "--file", "data/a.bam", "--folder", "data/folder")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["reads+edited", "index", "changed", "reads+edited"]
    done = launch(site, way, "rooted.py:moved", "--file", "data/a.bam", "--folder", "data/folder")
    assert (done.returncode, json.loads(done.stdout or "0")) == (0, [13, 13]), done.stderr
    assert {str(p.relative_to(data)): p.read_text() for p in data.rglob("*") if p.is_file()} == {
        "a.bam": "reads", "folder/kept.txt": "kept", "folder/gone.txt": "gone"}


@pytest.mark.long
def test_an_input_that_cannot_be_protected(site: Site):
    """Without namespaces a task that changes an input which is too large to copy fails: later tasks would
    read the change. It may move it.
    """
    put(site, "rooted.py")
    large = site.launch_dir / "a.bam"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (site.launch_dir / "folder").mkdir()
    for name in ("kept.txt", "gone.txt"):
        (site.launch_dir / "folder" / name).write_text("x")
    done = launch(site, "no namespaces", "rooted.py:edited", "--file", "a.bam", "--folder", "folder")
    if done.returncode == 0:
        pytest.skip("files share blocks here, so a copy of any size costs nothing")
    assert f"{large} was changed while it ran: let the task change a copy of it" in done.stderr
    done = launch(site, "no namespaces", "rooted.py:moved", "--file", "a.bam", "--folder", "folder")
    found = json.loads(done.stdout or "0")
    assert (done.returncode, found) == (0, [large.stat().st_size + 2] * 2), done.stderr


@pytest.mark.parametrize(("name", "found"), [
    ("temporary_paths", ["0", "1", "2"]), ("started_in_root", ["m", "a.txt", "deep"])])
def test_outputs_without_namespaces(site: Site, name: str, found: list[str]):
    """What a task makes by `tempfile` outlives it. An output of its working folder may be named in /root."""
    shutil.copy(CORPUS / f"{name}.py", site.launch_dir)
    done = launch(site, "no namespaces", f"{name}.py:flow")
    assert (done.returncode, json.loads(done.stdout or "0")) == (0, found), done.stderr


@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.long] if "user" in way else [])
                                 for way in list(WAYS)[:2]])
def test_a_dead_mount(site: Site, way: str, dead_mount: Path):
    """A dead mount in /tmp takes nobody's file system away."""
    put(site, "rooted.py")
    done = launch(site, way, "rooted.py:mapped")
    assert json.loads(done.stdout) == [" ".join([str(n)] * 4) for n in range(8)], done.stderr
    assert "share" not in done.stderr


def test_an_input_that_is_returned_keeps_its_path(site: Site):
    """An input that a task returns unchanged is not copied."""
    put(site, "rooted.py")
    (site.launch_dir / "a.txt").write_text("a")
    done = site.ok("launch", "rooted.py:passed", "--file", "a.txt")
    assert json.loads(done.out) == str(site.launch_dir / "a.txt")


@pytest.mark.parametrize("exists", [True, False])
def test_a_place_for_output(site: Site, exists: bool):
    """What a task writes to a LatchOutputDir of this machine is there for all to see."""
    put(site, "rooted.py")
    if exists:
        (site.launch_dir / "mine").mkdir()
    site.ok("launch", "rooted.py:filled", "--out", "mine")
    assert (site.launch_dir / "mine/filled.txt").read_text() == "here"


@pytest.mark.parametrize(("how", "why"), [
    ("exit", "failed with exit status 199: called once"), ("signal", "was killed by signal 6")])
def test_how_a_task_ended(site: Site, how: str, why: str):
    """The exit status and the signal are those of the task itself. It was called once."""
    put(site, "rooted.py")
    done = site.run("launch", "rooted.py:ending", "--how", how)
    assert done.code == 1
    assert why in site.show()["attempts"][0]["error"]


def test_a_task_may_clean_up(site: Site):
    """A task that is stopped has its time to react to SIGTERM."""
    put(site, "rooted.py")
    assert site.run("launch", "rooted.py:cleaned", "--place", str(site.launch_dir)).code == 1
    until(lambda: (site.launch_dir / "cleaned").exists())
