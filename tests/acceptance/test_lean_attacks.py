"""Lean retention where its nets are thin: containers, folders, links, files that are stored elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_lean import (
    BOUND,
    CHAIN,
    emptied,
    fail,
    hide,
    plain,
    relaunch,
    results,
)
from tests.acceptance.test_resume import cached
from tests.conftest import Site

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]
#: `docker run OPTIONS image:1 COMMAND`: the client sends it to the daemon, and shows what that answers.
CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect(SOCKET)
    client.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
    answer = json.loads(client.makefile().readline())
sys.stdout.write(answer["out"]); sys.stderr.write(answer["err"]); sys.exit(answer["code"])
"""


class Daemon(socketserver.StreamRequestHandler):
    """Runs the commands of containers as root, with all its rights, without the client's environment."""

    def handle(self) -> None:
        words = json.loads(self.rfile.readline())
        command, place = words[words.index("image:1") + 1:], words[words.index("-w") + 1]
        done = subprocess.run(command, cwd=place, env={"PATH": os.environ["PATH"]}, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL)
        answer = {"out": done.stdout, "err": done.stderr, "code": done.returncode}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


@pytest.fixture
def site(site: Site) -> Site:
    site.prefix, site.patience = BOUND, 900
    return site


@pytest.fixture
def containers(site: Site, tmp_path: Path) -> Iterator[None]:
    """Tasks run in containers, whose root no mode binds."""
    if os.geteuid() != 0:
        pytest.skip("the root of a container is simulated by root")
    place = tmp_path / "docker.sock"
    (tmp_path / "bin").mkdir()
    client = tmp_path / "bin/docker"
    client.write_text(f"#!{sys.executable}\n{CLIENT.replace('SOCKET', repr(str(place)))}")
    client.chmod(0o755)
    site.env["PATH"] = f"{client.parent}:{site.env['PATH']}"
    (site.launch_dir / "nextflow.config").write_text(
        "docker.enabled = true\nprocess.container = 'image:1'\n")
    with socketserver.ThreadingUnixStreamServer(str(place), Daemon) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def test_a_changed_script_in_a_container(site: Site, containers: None):
    """The guard acts in the wrapper, on the host: the task in the container never starts."""
    e = fail(site, CHAIN)
    assert emptied(e) == ["a1.bin", "a2.bin", "b1.bin", "b2.bin"]
    changed = CHAIN.replace("sha256sum < $b", "cat $b | sha256sum | tr a-f A-F")
    relaunch(site, e, changed)
    assert results(site) == plain(site, changed)


def test_root_in_a_container_reads_past_the_guard(site: Site, containers: None):
    """A path that no net can see, read by root in a container: the access time tells, and it is held."""
    e = fail(site, CHAIN)
    hide(site, e)
    sneaky = CHAIN.replace("cat $cs > d.txt", "p=\\$(rev ${launchDir}/hidden); (cat $cs; sha256sum < \\$p) "
                           "> d.txt")
    relaunch(site, e, sneaky, codes=(1, 70))
    after = site.show()
    assert after["state"] == "FAILED"
    assert "b1.bin was read although its content is not kept" in after["attempts"][-1]["error"]
    assert (after["work_dir"]["state"], after["work_dir"]["expires_at"]) == ("RETAINED", None)
    relaunch(site, e, CHAIN)
    assert results(site) == plain(site, CHAIN)


STORED = CHAIN.replace('process A { tag "$n";', 'process A { tag "$n"; storeDir "${launchDir}/stored";')


def test_what_is_stored_elsewhere_is_whole(site: Site):
    """Files in a `storeDir` are nobody's to empty, and a relaunch takes them from there."""
    e = fail(site, STORED)
    assert emptied(e) == ["b1.bin", "b2.bin"]
    for n in (1, 2):
        assert (site.launch_dir / f"stored/a{n}.bin").read_bytes()[:6] == f"a{n}\na{n}\n".encode()
    changed = STORED.replace("cat $a >", "cat $a | tac >")
    relaunch(site, e, changed)
    assert results(site) == plain(site, changed)


LINKED = """
process A { publishDir "$params.to/published", pattern: 'a2.bin', mode: 'symlink'
  output: path 'a1.bin'
          path 'a2.bin'
          path 'folder'
  script: '''mkdir folder; for f in a1.bin a2.bin folder/a3.bin; do head -c 2000000 /dev/urandom > $f; done
  ln -s "$PWD/a1.bin" "$PWD/folder" ''' + params.to }
process B { input: path a1
            path a2
            path folder
  output: path 'b.txt'
  script: "cat $a1 $a2 $folder/a3.bin | sha256sum > b.txt" }
process C { publishDir 'results'
  input: path b
  output: path 'c.txt'
  script: "cat $b > c.txt; ${params.fail ? 'exit 3' : ''}" }
params.fail = true
workflow { A(); B(A.out[0], A.out[1], A.out[2]) | C }
"""


def test_what_a_link_on_another_file_system_needs_is_whole(site: Site):
    """A link that the pipeline made on another file system is copied only later: its file is not emptied."""
    if os.stat("/dev/shm").st_dev == site.base.stat().st_dev:
        pytest.skip("/dev/shm is on the file system of the root")
    (site.launch_dir / "main.nf").write_text(LINKED)
    with tempfile.TemporaryDirectory(prefix="nfresume-", dir="/dev/shm") as place:
        (site.launch_dir / "elsewhere").symlink_to(place)
        found = Path(place)
        site.prefix = BOUND
        done = site.run("launch", "--retain", "lean", "--storage-expiration-hours", "48", "main.nf",
                        "--to", place)
        assert done.code == 1, done.err
        names = ("a1.bin", "published/a2.bin", "folder/a3.bin")
        before = [hashlib.sha256((found / name).read_bytes()).digest() for name in names]
        site.ok("relaunch", "main", "--fail", "false")
        assert site.show()["work_dir"]["state"] == "DELETED"
        assert [hashlib.sha256((found / name).read_bytes()).digest() for name in names] == before
        assert not [path for path in found.rglob("*") if path.is_symlink()]


FOLDERS = """
process A { output: path 'out'
  script: '''mkdir -p out/deep/deeper out/other; yes a | head -c 3000000 > out/deep/deeper/a.bin
  ln -s deep/deeper/a.bin out/a.link; ln -s deep out/other/folder; echo small > out/small.txt''' }
process B { input: path out
  output: path 'again'
  script: "cp -a $out/ again; cat $out/a.link > again/other/b.bin" }
process C { input: path x
  output: path 'c.txt'
  script: "cat $x/other/b.bin $x/other/folder/deeper/a.bin | sha256sum > c.txt" }
process D { publishDir 'results', mode: 'copy'
  input: path c
  output: path 'd.txt'
  script: "cat $c > d.txt; [ -e ${launchDir}/fixed ]" }
workflow { D(C(B(A()))) }
"""


@pytest.mark.parametrize("change", [
    ("cat $x/other/b.bin", "cat $x/deep/deeper/a.bin $x/other/b.bin"),
    ("cat $out/a.link >", "cat $out/other/folder/deeper/a.bin | tr a b >"),
])
def test_folders_in_folders_and_links_in_them(site: Site, change: tuple[str, str]):
    """A folder is emptied as a whole, and made whole again for a reader of any part of it."""
    e = fail(site, FOLDERS)
    assert set(emptied(e)) <= {"a.bin", "b.bin"}
    changed = FOLDERS.replace(*change)
    relaunch(site, e, changed)
    assert results(site) == plain(site, changed)


def test_folders_are_reused(site: Site):
    """Without a change all finished tasks are reused."""
    e = fail(site, FOLDERS)
    assert emptied(e)
    relaunch(site, e)
    assert sorted(cached(site, 2)) == ["A", "B", "C"]
    assert results(site) == plain(site, FOLDERS)


RANDOM = """
process A { output: path 'a.bin'
  script: "head -c 3000000 /dev/urandom > a.bin" }
process B { cache 'lenient'
  input: path a
  output: path 'b.txt'
  script: "sha256sum < $a > b.txt" }
process NEW { input: path a
  output: path 'new.txt'
  script: "sha256sum < $a > new.txt" }
process D { publishDir 'results', mode: 'copy'
  input: path b
         path other
  output: path 'd.txt'
  script: "cmp $b $other && echo same > d.txt; [ -e ${launchDir}/fixed ]" }
workflow { a = A(); D(B(a), [])
}
"""


#: What CHAIN does.
FLOW = "workflow { D(C(B(A(Channel.of(1, 2)))).toSortedList { it.name }) }"


def test_a_random_producer_and_a_lenient_cache(site: Site):
    """Made again, it has other content of the same size: what it had given to others must follow."""
    e = fail(site, RANDOM.replace("cmp $b $other", "true"))
    assert emptied(e) == ["a.bin"]
    relaunch(site, e, RANDOM.replace("D(B(a), [])", "D(B(a), NEW(a))"))
    assert results(site) == {"d.txt": "same\n"}


def test_a_program_that_the_head_starts(site: Site):
    """It would be denied an emptied file, and nobody sees its error: nothing is empty when it starts."""
    e = fail(site, CHAIN)
    assert emptied(e)
    changed = CHAIN.replace(FLOW, """workflow {
  b = B(A(Channel.of(1, 2)))
  b.map { n, f -> "$n ${['cat', f].execute().text.size()} ${f.permissions}" }
    .collectFile(name: 'head.txt', storeDir: 'results', newLine: true, sort: true)
  D(C(b).toSortedList { it.name }) }""")
    relaunch(site, e, changed)
    assert "head.txt" in results(site)
    assert results(site) == plain(site, changed)
