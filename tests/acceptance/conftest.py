"""Real Nextflow for the acceptance tests."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from nfresume.nextflow import embedded


@pytest.fixture(scope="session")
def plain_nextflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `nextflow` executable such as a user has: the same jars, started without nfresume."""
    java = embedded.java(None)
    words = embedded.launcher(java, embedded.install(java), os.environ)
    script = tmp_path_factory.mktemp("bin") / "nextflow"
    script.write_text(f'#!/bin/bash\nexport NXF_CLI="nextflow $*"\nexec {shlex.join(words)} "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture(scope="session")
def older_nextflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nextflow 24.10.0 as an executable: besides the embedded version the only one that is complete on Maven
    Central."""
    import jgo
    import requests

    place = tmp_path_factory.mktemp("older")
    try:
        found = jgo.build("io.nextflow:nextflow:24.10.0", cache_dir=place / "jgo")
    except (requests.RequestException, OSError, RuntimeError) as e:
        pytest.skip(f"Maven Central cannot be reached: {e}")
    java = embedded.java(None)
    words = [word for word in embedded.launcher(java, embedded.install(java), {})
             if not word.startswith(("-Xshare", "-XX:SharedArchiveFile"))]
    words[words.index("-cp") + 1] = ":".join(map(str, (*found.class_path_jars, *found.module_path_jars)))
    script = place / "nextflow"
    script.write_text(f'#!/bin/bash\nexec {shlex.join(words)} "$@"\n')
    script.chmod(0o755)
    return script


def run_plain(nextflow: Path, cwd: Path, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess:
    """`nextflow run` as a user would type it."""
    return subprocess.run([str(nextflow), "run", *words, "-ansi-log", "false"], cwd=cwd, env=env, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
