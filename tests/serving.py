"""A real `nfresume serve` for tests: on loopback, sweeping every second, ended by its own pid."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.conftest import Site, until


@dataclass
class Running:
    """A running server: its URL for users and on this machine, its login link ("" = none), stderr, pid."""

    url: str
    local: str
    link: str
    stderr: list[str]
    pid: int = 0


@contextmanager
def serve(site: Site, *words: str, port: int = 0, under: Sequence[str] = (), **env: str) -> Iterator[Running]:
    """Run a server until the end of the block. Fails if it exits with an error or prints a traceback.

    `under` are words that start the server in their place, such as `unshare`.
    """
    site.env["NFRESUME_WEB_LAUNCHES"] = str(site.base / "launches")
    site.env.setdefault("NFRESUME_WEB_PIPELINES", "any")  # tests write pipelines of their own
    process = site.start("serve", "--port", str(port), "--every", "1", *words, under=under, **env)
    stderr: list[str] = []
    reader = threading.Thread(target=lambda: [stderr.append(line) for line in process.stderr or ()])
    reader.start()

    def found(pattern: str) -> str:
        match = re.search(pattern, "".join(stderr))
        return match[1] if match else ""

    try:
        url = until(lambda: found(r"serving at ([^\s,\"]+)"), 400 if under else 60, "the server to serve")
        public = "NFRESUME_WEB_URL" in {**site.env, **env}
        local = found(r"listening at ([^\s\"]+)") if public else url
        link = "" if public else until(lambda: found(r"(http://\S+/login\?token=\S+)\n"), what="its link")
        yield Running(url, local, link, stderr, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
        reader.join()
    assert code == 0, "".join(stderr)
    assert not [line for line in stderr if "Traceback" in line], "".join(stderr)


def log_in(browser: httpx.Client, link: str) -> None:
    """Open a login link and send its form, as a browser does."""
    shown = browser.get(link[link.index("/login"):])
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown.text))
    sent = browser.post("/login", data=fields)
    assert sent.status_code == 303, sent.text
