"""`make demo`: the main job in one minute, with real Nextflow, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PLACE = PROJECT / ".demo"
LAUNCH = PLACE / "launch"


def say(text: str) -> None:
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}# {text}{plain}", flush=True)


def run(*words: str, expect: int = 0) -> None:
    """Show a command, run it, and stop the demo if it does not end as it should."""
    dim, plain = ("\x1b[36m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    print(f"{dim}$ {' '.join(words)}{plain}", flush=True)
    code = subprocess.run(words, cwd=LAUNCH, check=False).returncode
    if code != expect:
        sys.exit(f"demo: {' '.join(words)} ended with {code}, not {expect}")


def newest() -> dict:
    done = subprocess.run(["nfresume", "list", "--json"], cwd=LAUNCH, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)[0]


def main() -> None:
    shutil.rmtree(PLACE, ignore_errors=True)
    LAUNCH.mkdir(parents=True)
    for name in [n for n in os.environ if n.startswith("NFRESUME_")]:
        del os.environ[name]
    os.environ["NFRESUME_ROOT"] = str(PLACE / "root")
    os.environ["NFRESUME_DATABASE_URL"] = f"sqlite:///{PLACE / 'nfresume.db'}"
    os.environ["NFRESUME_ACCOUNT"] = "demo"
    shutil.copytree(PROJECT / "nextflow-fixtures/fail-late", LAUNCH / "reads-qc")

    say("Which Nextflow? The embedded engine; the first time it is downloaded and verified")
    run("nfresume", "engine", "install")

    say("Launch a pipeline whose last task has a mistake; keep its work dir 48 hours if it fails")
    run("nfresume", "launch", "--storage-expiration-hours", "48", "reads-qc", expect=1)
    failed = newest()

    say("What is retained, until when, and what it costs")
    run("nfresume", "list")
    run("nfresume", "show", failed["id"])

    say("Fix the pipeline: the column is called gc_content")
    script = LAUNCH / "reads-qc/main.nf"
    script.write_text(script.read_text().replace("gc_contnet", "gc_content"))
    print("$ sed -i s/gc_contnet/gc_content/ reads-qc/main.nf")

    say("Relaunch from the failed task: everything before it is reused")
    run("nfresume", "relaunch", failed["id"])

    say("The work dir is gone, the results are real files")
    work_dir = Path(failed["work_dir"]["path"])
    run("nfresume", "list")
    run("find", "results", "-type", "f")
    run("cat", "results/report.csv")
    if work_dir.exists() or (LAUNCH / "results/report.csv").is_symlink():
        sys.exit("demo: the work dir should be gone, and the results should be real files")
    print(f"\n{work_dir} no longer exists. Try it yourself: .venv/bin/nfresume --help")


main()
