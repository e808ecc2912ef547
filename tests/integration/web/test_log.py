"""A server whose log nobody reads."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import httpx

from tests.conftest import BIN, PROJECT, Site, until


def test_a_log_that_nobody_reads_stops_nothing(site: Site):
    """The pipe of standard error is full: every request is answered all the same, and SIGTERM ends it."""
    read, write = os.pipe()
    child = subprocess.Popen([str(BIN / "nfresume"), "serve", "--port", "0"], env=site.env,
                             cwd=site.launch_dir, stdout=subprocess.DEVNULL, stderr=write)
    os.close(write)
    heard = b""

    def link() -> re.Match[bytes] | None:
        nonlocal heard
        heard += os.read(read, 4096)
        return re.search(rb"log in with .*(http://[^/]+)/login", heard)

    found = until(link, 60, "the server")
    path = f"/a/team/executions/{'x' * 180}"
    with httpx.Client(base_url=found[1].decode(), timeout=10) as browser:
        assert {browser.get(path).status_code for _ in range(600)} == {303}  # 200 lines fill the pipe
        assert browser.get("/healthz").status_code == 200
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 0
    with os.fdopen(read, "rb") as left:
        assert left.read().count(path.encode()) > 100


def test_lines_that_are_lost_are_counted():
    """When somebody reads again, the log says how many lines are lost, and goes on."""
    code = ("import logging\nfrom nfresume.system import logs\nlogs.setup('info', 'text', queued=True)\n"
            "for n in range(30_000): logging.info('line %d', n)\n"
            "print('logged', flush=True)\ninput()\nlogs.drain(60)\nlogging.info('goes on')\n")
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        begun = time.monotonic()
        assert child.stdout is not None
        assert child.stdout.readline() == "logged\n"
        assert time.monotonic() - begun < 30
        _, log = child.communicate("\n", timeout=60)
    numbers = [int(n) for n in re.findall(r"line (\d+)\n", log)]
    lost = re.findall(r"WARNING nfresume.system.logs: (\d+) lines are lost", log)
    assert numbers == sorted(set(numbers))
    assert lost
    assert len(numbers) + sum(map(int, lost)) == 30_000
    assert log.endswith("goes on\n")
