"""A real `nfresume serve` for tests: on loopback, sweeping every second, ended by its own pid."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.conftest import Site, until


@dataclass
class Running:
    """Where it serves users (`url`) and this machine (`local`), its login link ("" = none), what it said."""

    url: str
    local: str
    link: str
    said: list[str]


@contextmanager
def serve(site: Site, *words: str, port: int = 0, **env: str) -> Iterator[Running]:
    """Run a server; it has to end well and without a traceback."""
    site.env["NFRESUME_WEB_LAUNCHES"] = str(site.base / "launches")
    process = site.start("serve", "--port", str(port), "--every", "1", *words, **env)
    said: list[str] = []
    reader = threading.Thread(target=lambda: [said.append(line) for line in process.stderr or ()])
    reader.start()

    def found(pattern: str) -> str:
        match = re.search(pattern, "".join(said))
        return match[1] if match else ""

    try:
        url = until(lambda: found(r"serving at ([^\s,]+)"), what="the server to serve")
        public = "NFRESUME_WEB_URL" in {**site.env, **env}
        local = found(r"listening at (\S+)") if public else url
        link = "" if public else until(lambda: found(r"(http://\S+/login\?token=\S+)\n"), what="its link")
        yield Running(url, local, link, said)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
        reader.join()
    assert code == 0, "".join(said)
    assert not [line for line in said if "Traceback" in line], "".join(said)
