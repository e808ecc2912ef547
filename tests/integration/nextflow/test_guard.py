"""The guard of tasks: it ends a task that names an emptied file, however it does; it fails closed."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfresume.nextflow import guard, mentions
from tests.conftest import until

EMPTIED, USER = f"ab/{'1' * 30}", f"cd/{'2' * 30}"
FILE = f"{EMPTIED}/out dir/big.bam".replace(" ", "_")


class Tasks:
    """A work dir with an emptied file, and a task that may need it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.work, self.attempt = base / "my work", base / "attempts" / "an attempt"
        for place in (self.work / FILE).parent, self.work / USER, self.attempt:
            place.mkdir(parents=True)
        (self.work / FILE).write_bytes(b"\0" * 10)
        (self.work / FILE).chmod(0)
        guard.arm(self.attempt, mentions.ancestors(FILE))
        (self.attempt / "env.sh").write_text(guard.script(self.attempt))
        self.files = {".command.run": "", ".command.sh": ""}

    def start(self, words: tuple[str, ...] = ("bash", "-ue", ".command.run")) -> subprocess.Popen[str]:
        for name, text in self.files.items():
            (self.work / USER / name).write_text(f"{text}\necho ran\n")
        env = {**os.environ, "BASH_ENV": str(self.attempt / "env.sh")}
        return subprocess.Popen(words, cwd=self.work / USER, env=env, text=True, start_new_session=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def is_stopped(self, words: tuple[str, ...] = ("bash", "-ue", ".command.run")) -> bool:
        """True when the guard held the task before its first command, and noted why."""
        child = self.start(words)

        def over() -> str:
            return "ran" if child.poll() is not None else "held" if guard.needed(self.attempt) else ""

        how = until(over, 20)
        if how == "held":
            os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        assert ("ran" in out) == (how == "ran"), err
        return how == "held"


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    return Tasks(tmp_path)


def test_a_task_that_names_no_emptied_file_runs(tasks: Tasks):
    """Names that only begin like that of an emptied file, and its own task dir, are no reason."""
    tasks.files[".command.run"] = f"ls '{tasks.work}/{FILE}.bai' || true; cd '{tasks.work}/{USER}'"
    assert not tasks.is_stopped()
    assert guard.needed(tasks.attempt) == set()


@pytest.mark.parametrize("how", ["staged", "relative", "many inputs", "a value", "its folder", "its task dir",
                                 "a pattern", "in a variable", "above"])
def test_ways_to_name_an_emptied_file(tasks: Tasks, how: str):
    """A task that names an emptied file, or a folder of it, does not run its first command."""
    name, text = {
        "staged": (".command.run", f"ln -s '{tasks.work}/{FILE}' big.bam"),
        "relative": (".command.run", f"ln -s ../../{FILE} big.bam"),
        "many inputs": (".command.stage", f"ln -s '{tasks.work}/{FILE}' big.bam"),
        "a value": (".command.sh", f'cat "{tasks.work}/{FILE}" | sha256sum'),
        "its folder": (".command.run", f"ln -s '{tasks.work}/{EMPTIED}/out_dir/' out"),
        "its task dir": (".command.sh", f"find '{tasks.work}/{EMPTIED}'"),
        "a pattern": (".command.sh", f"cat '{tasks.work}'/{EMPTIED}/out_dir/*.bam"),
        "in a variable": (".command.sh", f"d='{tasks.work}/{EMPTIED}'; cat $d/out_dir/big.bam"),
        "above": (".command.sh", f"cat '{tasks.work}/{EMPTIED}/other/../out_dir/big.bam'"),
    }[how]
    tasks.files[name] = text
    assert tasks.is_stopped()


SHEET = f"ef/{'3' * 30}/sheet.csv"


@pytest.mark.parametrize("staged", [
    "{base}/sheet.csv sheet.csv",
    f"../../{SHEET} sheet.csv",
    f"../../../{SHEET} in/sheet.csv",  # stageInMode 'rellink': a link in a folder
    f"../../../../{SHEET} in/1/sheet.csv",
    "../../../sheet.csv sheet.csv",
    "../../../../sheet.csv in/sheet.csv",
    "../../../my\\ sheet.csv sheet.csv",
])
def test_a_samplesheet(tasks: Tasks, staged: str):
    """A small file that is staged is looked into, also where the link to it is relative."""
    (tasks.work / SHEET).parent.mkdir(parents=True)
    for path in (tasks.base / "sheet.csv", tasks.base / "my sheet.csv", tasks.work / SHEET):
        path.write_text(f"sample,file\nx,{tasks.work}/{FILE}\n")
    tasks.files[".command.run"] = "false && ln -s " + staged.format(base=tasks.base) + " || true"
    assert tasks.is_stopped()


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_gzipped_samplesheet(tasks: Tasks, end: str):
    """It is unpacked for the look, beside others that are not gzipped, with or without an end of the line."""
    text = f"sample,file\nx,{tasks.work}/{FILE}{end}"
    (tasks.base / "a.gz").write_bytes(gzip.compress(b"nothing"))
    (tasks.base / "s.gz").write_bytes(gzip.compress(text.encode()))
    (tasks.base / "z").write_bytes(b"z")
    tasks.files[".command.run"] = f"ls {tasks.base}/a.gz {tasks.base}/s.gz {tasks.base}/z"
    assert tasks.is_stopped()


def test_a_path_through_links_in_a_samplesheet(tasks: Tasks):
    """A samplesheet may name an emptied file by a link, of which nothing but its target tells."""
    (tasks.base / "elsewhere").symlink_to((tasks.work / FILE).parent)
    (tasks.base / "sheet.csv").write_text(f"x,{tasks.base}/elsewhere/big.bam\n")
    tasks.files[".command.run"] = f"ln -s {tasks.base}/sheet.csv sheet.csv"
    assert tasks.is_stopped()


def test_a_link_of_the_user(tasks: Tasks):
    """A link outside of the work dir is followed, also one with a blank in its name."""
    (tasks.base / "my link").symlink_to(tasks.work / FILE)
    tasks.files[".command.run"] = f"ln -s {tasks.base}/my\\ link big.bam"
    assert tasks.is_stopped()


def test_slurm_runs_a_copy(tasks: Tasks):
    """Slurm runs a copy of the wrapper from its spool folder: the working folder tells whose it is."""
    tasks.files[".command.run"] = f"ln -s '{tasks.work}/{FILE}' big.bam"
    (tasks.base / "slurm_script").write_text("echo ran\n")
    assert tasks.is_stopped(("bash", str(tasks.base / "slurm_script")))


@pytest.mark.parametrize("needs", [False, True])
def test_a_job_array(tasks: Tasks, needs: bool):
    """The script of an array starts the wrappers of its tasks, which do not read the hook: they are looked
    at, and marked, with it."""
    members = [f"{prefix}/{'3' * 30}" for prefix in ("01", "02")]
    for member in members:
        place = tasks.work / member
        place.mkdir(parents=True)
        (place / ".command.run").write_text("true\n")
        (place / ".command.sh").write_text(
            f"cat '{tasks.work}/{FILE}'\n" if needs and member == members[1] else "true\n")
    tasks.files[".command.sh"] = (
        "array=( " + " ".join(str(tasks.work / member).replace(" ", "\\ ") for member in members) + " )\n"
        "export nxf_array_task_dir=${array[SLURM_ARRAY_TASK_ID]}")
    assert tasks.is_stopped() == needs
    marks = [tasks.work / place / guard.MARK for place in (USER, *members)]
    assert [mark.exists() for mark in marks] == [not needs] * 3


@pytest.mark.parametrize("damage", ["gone", "short", "unreadable"])
def test_without_its_list_no_task_starts(tasks: Tasks, damage: str):
    """A list that is not whole ends every task with the guard's status."""
    path = tasks.attempt / guard.LIST
    if damage == "gone":
        path.unlink()
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()
        path.mkdir()
    child = tasks.start()
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (guard.STATUS, "")
    assert "no task is started" in err
    assert (tasks.work / USER / ".exitcode").read_text().strip() == str(guard.STATUS)


def test_the_users_own_hook_and_a_tool_in_bash(tasks: Tasks):
    """A bash script inside of a task is not looked at again, and other bashes are not at all."""
    (tasks.work / USER / "tool.sh").write_text("echo from a tool\n")
    tasks.files[".command.run"] = "bash tool.sh"
    child = tasks.start()
    out, err = child.communicate(timeout=30)
    assert out.splitlines() == ["from a tool", "ran"], err
    guard.arm(tasks.attempt, [])
    (tasks.attempt / guard.LIST).unlink()
    elsewhere = subprocess.run(["bash", "-c", "echo ran"], cwd=tasks.base, text=True, capture_output=True,
                               env={**os.environ, "BASH_ENV": str(tasks.attempt / "env.sh")})
    assert elsewhere.stdout == "ran\n"


PIECES = st.sampled_from([f"{EMPTIED}", f"/w/{EMPTIED}", USER, "/x", "/../", "//", "/./", "*", "'", '"', " ",
                          "\n", "{a,b}", "a.bam", "é", "(", ")", ":", "/", ".", "$", "\\ ", "-", "%", "[1]"])


@given(st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=12).map("\n".join))
@settings(max_examples=60, deadline=None)
def test_python_and_bash_find_the_same(text: str):
    """What the choice takes for named, the guard does, too."""
    script = guard.script(Path("/nowhere"))
    pattern = script[script.index("sed -E \\"):script.index('grep -xF -f "$list"')]
    token = f"token={script.split('token=', 1)[1].splitlines()[0]}"
    token = token.partition(" path=")[0]
    command = f'{token}; grep -aoE "$token" | {pattern} sort -u'
    done = subprocess.run(["bash", "-c", command], input=text, text=True, capture_output=True,
                          env={**os.environ, "LC_ALL": "C"})
    assert set(filter(None, done.stdout.splitlines())) == {t for t in mentions.of(text) if t}, done.stderr
