"""Pipelines that Nextflow pulls: their project names, and where it keeps its copies.

Two layouts, read in Nextflow's sources: up to 25.10 one working tree, `assets/OWNER/REPO`; from 26.04 one
clone for each commit, `assets/.repos/OWNER/REPO/clones/COMMIT`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from nfresume.nextflow.command import nxf_home
from nfresume.system import regular

#: The owner of a project that is named without one, such as `hello`.
DEFAULT_OWNER = "nextflow-io"
_URL = re.compile(r"(https?://|file:/)")
_LAUNCHING = re.compile(
    r" nextflow\.cli\.CmdRun - (?:Launching|\* PREVIEW \*) .* - revision: ([0-9a-f]{7,40})\b")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_GIT_SECONDS = 60


def root(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder in which Nextflow keeps its copies of remote pipelines."""
    return Path(environ.get("NXF_ASSETS") or nxf_home(environ) / "assets")


def is_remote(pipeline: str) -> bool:
    """True for a pipeline that Nextflow looks for in a repository when no such file or folder exists.

    >>> [is_remote(name) for name in ("hello", "nf-core/rnaseq", "owner/repo/other.nf", "main.nf", "./hello")]
    [True, True, True, False, False]
    """
    if _URL.match(pipeline):
        return True
    if not pipeline or pipeline.startswith(("./", "../", "/")) or pipeline in (".", ".."):
        return False
    return "/" in pipeline or not pipeline.endswith((".nf", ".nxf", ".py"))


def project(pipeline: str, environ: Mapping[str, str] = os.environ) -> str:
    """The name `OWNER/REPO` of a remote pipeline, as Nextflow resolves it.

    >>> [project(name, {}) for name in ("https://github.com/acme/rna.git", "acme/rna/qc.nf", "acme/qc.nf")]
    ['acme/rna', 'acme/rna', 'nextflow-io/acme']
    """
    if _URL.match(pipeline):
        path = pipeline.partition(":")[2].removesuffix(".git").strip("/")
        if pipeline.startswith("file:"):
            return f"local/{path.rsplit('/', 1)[-1]}"
        return path.partition("/")[2]
    parts = pipeline.split("/")
    if parts[-1].endswith((".nf", ".nxf")):
        parts = parts[:1] if len(parts) == 2 else parts[:2]
    return "/".join(parts) if len(parts) > 1 else _owned(parts[0], environ)


def _owned(name: str, environ: Mapping[str, str]) -> str:
    """A name without an owner: that of the only copy with this name, else of the default owner."""
    if not re.fullmatch(r"[\w.-]+", name):
        return f"{DEFAULT_OWNER}/{name}"
    found = list(root(environ).glob(f"[!.]*/{name}")) or list(root(environ).glob(f".repos/*/{name}"))
    return f"{found[0].parent.name}/{name}" if len(found) == 1 else f"{DEFAULT_OWNER}/{name}"


def copy(pipeline: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder with the newest copy of a remote pipeline; it may not exist."""
    name = project(pipeline, environ)
    clones = sorted((root(environ) / ".repos" / name / "clones").glob("*"), key=lambda p: p.stat().st_mtime)
    return clones[-1] if clones else root(environ) / name


def commit_of(log: Path) -> str | None:
    """The start of the commit that an attempt runs, from Nextflow's log; None when nothing was pulled."""
    try:
        with open(log, errors="replace", opener=regular.opener) as lines:
            for line in lines:
                if found := _LAUNCHING.search(line):
                    return found[1]
                if " nextflow.Session - " in line:
                    break  # the script runs now, and may write lines like that one
    except (FileNotFoundError, ValueError):
        pass
    return None


def at_commit(pipeline: str, commit: str, scratch: Path, environ: Mapping[str, str] = os.environ
              ) -> Path | None:
    """A folder with the files of a remote pipeline at `commit` (its first digits are enough).

    That is Nextflow's copy if it is at this commit; otherwise git writes them into the folder `scratch`.
    None when there is no such commit, or git cannot be run.
    """
    name = project(pipeline, environ)
    repository = root(environ) / ".repos" / name
    for clone in (repository / "clones").glob(f"{commit}*"):
        return clone
    tree = root(environ) / name
    if (head := _head(tree)) and head.startswith(commit):
        return tree
    for git_dir in (tree / ".git", repository / "bare"):
        if git_dir.is_dir() and _export(git_dir, commit, scratch):
            return scratch
    return None


def _head(tree: Path) -> str | None:
    """The commit that is checked out in a working tree."""
    git = tree / ".git"
    try:
        text = regular.text(git / "HEAD").strip()
        if text.startswith("ref: "):
            ref = text.removeprefix("ref: ")
            loose = git / ref
            if loose.is_file():
                text = regular.text(loose).strip()
            else:
                packed = regular.text(git / "packed-refs").splitlines()
                text = next((line.split()[0] for line in packed if line.endswith(f" {ref}")), "")
    except OSError:
        return None
    return text if _COMMIT.fullmatch(text) else None


def _export(git_dir: Path, commit: str, target: Path) -> bool:
    git = shutil.which("git")
    if git is None:
        return False
    target.mkdir(parents=True, exist_ok=True)
    words = [git, f"--git-dir={git_dir}", f"--work-tree={target}", "-c", "safe.directory=*",
             "-c", "core.hooksPath=/dev/null", "checkout", "--force", commit, "--", "."]
    index = {"GIT_INDEX_FILE": str(target / ".index"), "PATH": os.environ.get("PATH", os.defpath)}
    try:
        done = subprocess.run(words, env=index, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=_GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
