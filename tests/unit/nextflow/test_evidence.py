"""The small files of tasks: what is kept of them, and what is never read."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from nfresume.nextflow import evidence, task_dirs, wrapper
from tests import logs

RUN = """#!/bin/bash
### ---
### name: 'ALIGN (s1)'
### container: 'quay.io/biocontainers/bwa:0.7'
### outputs:
### - 'out.bam'
### ...
set -e
nxf_fs_move() {
  mv -f $source $target/$basedir
}
nxf_stage() {
    true
    # stage input files
    rm -f reads.fq
    ln -s /data/reads.fq reads.fq
    ln -s /data/with\\ space\\'s.txt with\\ space\\'s.txt
    mkdir -p sub && cp -fRL /data/copied.txt sub/copied.txt
    ln /data/hard.txt hard.txt
    mkdir -p a/b && ln -s ../../../../rel.txt a/b/rel.txt
    ln -s /data/reads.fq again.fq
}
nxf_unstage() {
    true
    IFS=$'\\n'
    for name in $(eval "ls -1d out.bam" | sort | uniq); do
        nxf_fs_move "$name" /store/with\\ space || true
    done
}
ln -s /not/staged elsewhere
"""


def test_a_wrapper():
    """The name, the container, the inputs of every way to stage them, and the folder of a storeDir."""
    found = wrapper.parse(RUN, "/w/ab/cdef")
    assert (found.name, found.container) == ("ALIGN (s1)", "quay.io/biocontainers/bwa:0.7")
    assert not found.staged
    assert found.inputs == ("/data/reads.fq", "/data/with space's.txt", "/data/copied.txt", "/data/hard.txt",
                            "/w/rel.txt")
    assert found.outputs == ("/store/with space",)


@pytest.mark.parametrize(("before", "since"), [("ln -s ", "ln -sfn "), ("ln /data/hard", "ln -f /data/hard")])
def test_a_wrapper_whose_links_are_forced(before: str, since: str):
    """Nextflow 26.07 and later stage with `ln -sfn`, and `ln -f`: no input of a task was known."""
    assert before in RUN
    assert wrapper.parse(RUN.replace(before, since), "/w/ab/cdef") == wrapper.parse(RUN, "/w/ab/cdef")


def test_other_wrappers():
    """A name with line breaks; inputs in a file of their own; no staging; damage."""
    assert wrapper.parse("### ---\n### name: 'N (a\nb')'\n### ...\n", "/w").name == "N (a\nb')"
    assert wrapper.parse("nxf_stage() {\n    true\n    bash /w/ab/c/.command.stage\n}\n", "/w").staged
    assert wrapper.parse("", "/w") == wrapper.Wrapper("", "", (), (), False)
    assert wrapper.inputs("ln -s 'unbalanced x\nln -s one\nln -s a b c", "/w") == ()
    many = "\n".join(f"ln -s /data/{n} {n}" for n in range(5000))
    assert len(wrapper.inputs(many, "/w")) == wrapper.MOST_INPUTS


def make(work: Path, name: str, **files: bytes) -> Path:
    place = work / name
    place.mkdir(parents=True)
    for key, data in files.items():
        (place / ("." + key.replace("_", "."))).write_bytes(data)
    return place


def test_one_task_is_read_in_place(tmp_path: Path):
    """Members are appended; each is read by one seek, and tar unpacks all of them."""
    archive = evidence.Archive(tmp_path, 7)
    places = {}
    for number in range(20):
        name = logs.task_dir(number)
        make(tmp_path / "work", name, command_sh=b"echo %d" % number, command_out=b"\0\xff" * 9,
             exitcode=b"0")
        fd = os.open(tmp_path / "work", os.O_RDONLY)
        with evidence.task_dir(fd, name) as folder:
            places[name] = archive.add(evidence.pack(name, evidence.files_of(folder)))
        os.close(fd)
    archive.close()
    for number in range(20):
        place = places[logs.task_dir(number)]
        assert place[0] == "tasks-7.tar.gz"
        assert evidence.unpack(tmp_path, place, ".command.sh") == b"echo %d" % number
        assert evidence.unpack(tmp_path, place, ".command.out") == b"\0\xff" * 9
        assert evidence.unpack(tmp_path, place, ".command.err") is None
    with tarfile.open(archive.path) as tar:
        assert len(tar.getnames()) == 60


def test_long_files_keep_beginning_and_end(tmp_path: Path):
    """At most 64 KiB of each file: half of it from the beginning, half from the end."""
    make(tmp_path, "ab/cd", command_out=b"A" * 100_000 + b"Z" * 100_000,
         command_err=b"x" * evidence.MOST_BYTES)
    fd = os.open(tmp_path, os.O_RDONLY)
    with evidence.task_dir(fd, "ab/cd") as folder:
        out, err = evidence.read(folder, ".command.out"), evidence.read(folder, ".command.err")
    os.close(fd)
    assert out.data.startswith(b"A" * 32_768 + b"\n[nfresume: 134464 bytes are left out here]\n")
    assert out.data.endswith(b"Z" * 32_768)
    assert len(out.data) < evidence.MOST_BYTES + 100
    assert err.data == b"x" * evidence.MOST_BYTES


def test_nothing_is_followed_out_of_a_task_dir(tmp_path: Path):
    """Links, pipes and folders are no files of a task; a task dir that is a link is none."""
    (tmp_path / "secret").write_bytes(b"secret")
    place = make(tmp_path / "work", "ab/cd")
    (place / ".command.sh").symlink_to(tmp_path / "secret")
    os.mkfifo(place / ".command.out")
    (place / ".command.err").mkdir()
    (tmp_path / "work/ab/1234").symlink_to(tmp_path)
    (tmp_path / "work/cd").symlink_to(tmp_path / "work/ab")
    fd = os.open(tmp_path / "work", os.O_RDONLY)
    with evidence.task_dir(fd, "ab/cd") as folder:
        assert evidence.files_of(folder) == []
    for name in ("ab/1234", "cd/cd", "ab/ff", "../work/ab/cd", "ab", "/ab/cd"):
        with pytest.raises(OSError), evidence.task_dir(fd, name):
            pass
    os.close(fd)


def test_damaged_archives(tmp_path: Path):
    """What cannot be read of an archive is not there, and no path leads out of the attempt's folder."""
    archive = evidence.Archive(tmp_path, 1)
    place = archive.add(evidence.pack("ab/cd", [evidence.Kept(".command.sh", b"x", 0)]))
    archive.close()
    name, offset, length = place
    for wrong in ((name, offset + 1, length), (name, offset, length - 3), ("absent", 0, 9), (name, 10**9, 9),
                  (f"../{tmp_path.name}/{name}", offset, length)):
        assert evidence.unpack(tmp_path, wrong, ".command.sh") is None
    assert evidence.unpack(tmp_path, place, ".command.sh") == b"x"
    full = evidence.Archive(tmp_path / "absent", 1)
    assert full.add(b"x") is None
    full.close()


def test_which_task_dir_a_short_hash_means(tmp_path: Path):
    """Of several task dirs with one short hash it is the one with the task's name in its wrapper."""
    def wrap(name: str) -> bytes:
        return f"#!/bin/bash\n### ---\n### name: '{name}'\n### ...\n".encode()

    one = make(tmp_path, f"ab/cdef01{'1' * 24}", command_run=wrap("A (1)"))
    make(tmp_path, f"ab/cdef01{'2' * 24}", command_run=wrap("B (a\nb)"))
    make(tmp_path, f"ab/cdef02{'3' * 24}")
    assert task_dirs.find(tmp_path, "ab/cdef02", "whatever") == f"ab/cdef02{'3' * 24}"
    assert task_dirs.find(tmp_path, "ab/cdef01", "B (a\nb)") == f"ab/cdef01{'2' * 24}"
    assert task_dirs.find(tmp_path, "ab/cdef01", "A (1)") == f"ab/cdef01{'1' * 24}"
    assert task_dirs.find(tmp_path, "ab/cdef01", "C") == ""
    assert task_dirs.find(tmp_path, "ff/cdef01", "A (1)") == task_dirs.find(tmp_path, "", "A") == ""
    make(tmp_path, f"ab/cdef01{'4' * 24}", command_run=wrap("A (1)"))
    assert task_dirs.find(tmp_path, "ab/cdef01", "A (1)") == ""  # two with one name: it stays ambiguous
    (one / ".exitcode").write_text("0")
    assert task_dirs.find(tmp_path, "ab/cdef01", "A (1)", unfinished=True) == f"ab/cdef01{'4' * 24}"
