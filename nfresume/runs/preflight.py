"""Checks before a launch. Each refusal is one clear line."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nfresume.domain.errors import InvalidMetadata, NotFound, RootUnusable, UsageError
from nfresume.domain.executions import python_workflow
from nfresume.domain.retention import check_hours
from nfresume.domain.workdirs import OnSuccess
from nfresume.nextflow import assets, kept_inputs
from nfresume.nextflow.options import STDIN, RunOptions
from nfresume.pipelines import metadata as declared
from nfresume.runs import inputs
from nfresume.settings import Settings
from nfresume.storage import Root
from nfresume.storage.root import MARKER
from nfresume.store import Store, queries, transitions

if TYPE_CHECKING:
    from nfresume.tasks import checking

#: How the source of the hours of a remote pipeline begins, until they have been read.
TO_BE_READ = "to be read from the pipeline"
#: It splits `-c` at commas and takes `-log` for a pattern with `%`. Tasks fail with the others in their path.
_NOT_FOR_NEXTFLOW = re.compile(r"[,%$\x00-\x1f\x7f]")

#: A longer name of a pipeline is refused: an index of PostgreSQL has no place for it.
MOST_BYTES = 1000


@dataclass(frozen=True)
class Retention:
    """The storage expiration in hours, and where it comes from."""

    hours: float
    source: str


def check_pipeline(pipeline: str | None, launch_dir: Path, main_script: str | None = None) -> Path | None:
    """The local path of a pipeline; None for a remote one and for `-`. Raises NotFound or UsageError.

    What Nextflow would look for in a repository is passed on to it: it says what is wrong with such a name.
    """
    if pipeline is None:
        raise UsageError("no pipeline given", "`nfresume launch main.nf`, or a folder, or owner/repo")
    if len(os.fsencode(pipeline)) > MOST_BYTES:
        raise UsageError(f"{pipeline[:60]}... is longer than {MOST_BYTES:,} bytes",
                         "go to a folder that is nearer, and name the pipeline from there")
    for name, text in (("pipeline", pipeline), ("launch folder", str(launch_dir))):
        if _shown(text) != text:
            raise UsageError(f"the name of the {name} {_shown(text)} is not UTF-8",
                             "rename it: Nextflow cannot open it")
    if pipeline == STDIN:
        return None
    python = python_workflow(pipeline)
    if python is None and main_script is None:
        _refuse_package(pipeline, launch_dir)
    name = python[0] if python else pipeline
    path = launch_dir / name
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as e:
        raise NotFound(f"there is no script {pipeline[:200]!r}: {e.strerror}",
                       "a path, a folder with main.nf, or owner/repo") from None
    if path.is_file():
        if path.suffix == ".py" and not python:
            raise UsageError(f"{pipeline} is a Python file: name which of its workflows to run",
                             f"`nfresume launch {pipeline}:WORKFLOW`")
        return path
    if path.is_dir() and not python:
        scripts = (path / "main.nf", path / "nextflow.config")  # -main-script is Nextflow's to find
        if main_script is None and not any(script.is_file() for script in scripts):
            raise NotFound(f"{pipeline} holds no main.nf", "name the script: -main-script FILE")
        return path
    if not python and assets.is_remote(pipeline):
        return None
    raise NotFound(f"there is no script {name!r}", "a path, a folder with main.nf, or owner/repo")


def _shown(name: str) -> str:
    """A name with escapes for the bytes that are no UTF-8."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _refuse_package(pipeline: str, launch_dir: Path) -> None:
    """Raise UsageError for a folder with a Python workflow and no Nextflow script, saying how to name it."""
    folder, _, workflow = pipeline.partition(":")
    with contextlib.suppress(OSError):
        if (launch_dir / folder / "main.nf").exists() or (launch_dir / folder / "nextflow.config").exists():
            return
        for file in ("__init__.py", "wf/__init__.py"):
            if (launch_dir / folder / file).is_file():
                named = os.path.normpath(f"{folder}/{file}")
                raise UsageError(f"{pipeline} is a Python package: name its file and one of its workflows",
                                 f"`nfresume launch {named}:{workflow or 'WORKFLOW'}`")


def identity(pipeline: str, launch_dir: Path, main_script: str | None = None) -> str:
    """A text that is equal for two names of one pipeline, such as `main.nf` and `.`, URL and owner/repo."""
    name, _, function = pipeline.partition(".py:")
    path = launch_dir / (f"{name}.py" if function else pipeline)
    try:
        if path.is_dir():
            path = path / (main_script or "main.nf")
        elif not path.exists() and pipeline != STDIN and assets.is_remote(pipeline):
            return f"{assets.project(pipeline)} {main_script or _script_in(pipeline)}"
    except OSError:
        pass  # a name that no file can have
    return f"{os.path.realpath(path)}:{function}"


def _script_in(pipeline: str) -> str:
    """The script that a name such as `owner/repo/other.nf` ends with."""
    if not pipeline.endswith((".nf", ".nxf")):
        return ""
    return "/".join(pipeline.split("/")[1 if pipeline.count("/") == 1 else 2:])


def check_workflow(
    options: RunOptions, launch_dir: Path, taken: inputs.Taken
) -> checking.Declaration | None:
    """Load a Python workflow and check its inputs; None for a Nextflow pipeline.

    `taken` has the params files that it is going to use: those of a relaunch are kept ones. Raises UsageError
    for inputs, InvalidMetadata for a file that cannot be loaded.
    """
    assert options.pipeline is not None
    if python_workflow(options.pipeline) is None:
        if options.value("-jobs") is not None:
            raise UsageError("--jobs is for Python workflows", "Nextflow's own option is -queue-size")
        return None
    from nfresume.tasks import calls, checking

    call = calls.of_options(options, launch_dir, taken.params_files())
    return checking.check(options.pipeline, launch_dir, call.inputs)


def retention_of(
    local: Path | None, pipeline: str, explicit: object, metadata: Path | None, conf: Settings,
    workflow: checking.Declaration | None = None,
) -> Retention:
    """Find storage_expiration_hours. The first of these that has it wins; otherwise it is 0.

    The command line, the pipeline's metadata, the Python workflow, the settings. A remote pipeline's metadata
    is read when Nextflow has pulled it: see `expiration.read_declared`. Raises UsageError, InvalidMetadata.
    """
    if explicit is not None:
        try:
            return Retention(check_hours(explicit), "--storage-expiration-hours")
        except ValueError as e:
            raise UsageError(str(e), "hours as a number, for example --storage-expiration-hours 48") from None
    file = declared.find(local or Path(), metadata) if local or metadata else None
    if file is not None:
        hours = declared.load(file).storage_expiration_hours
        if hours is not None:
            try:
                return Retention(check_hours(hours), str(file))
            except ValueError as e:
                raise InvalidMetadata(f"{file}: {e}") from None
    if workflow is not None and workflow.storage_expiration_hours is not None:
        try:
            return Retention(check_hours(workflow.storage_expiration_hours), pipeline)
        except ValueError as e:
            raise InvalidMetadata(f"{pipeline}: {e}", "fix the file") from None
    source = conf.sources["storage_expiration_hours"]  # `default` when it is not set
    if local is None and metadata is None and pipeline != STDIN:
        source = f"{TO_BE_READ}, otherwise {source}"
    return Retention(conf.storage_expiration_hours or 0.0, source)


def metadata_file(local: Path | None, explicit: Path | None) -> str | None:
    """The file with the pipeline's metadata, as `retention_of` finds it; None for a remote pipeline's own."""
    file = declared.find(local or Path(), explicit) if local or explicit else None
    return None if file is None else str(file.resolve())


def check_keep(on_success: OnSuccess, keep: Retention, *, pinned: bool, asked: bool) -> None:
    """Refuse `--on-success keep` without hours or a pin, if this launch `asked` for it. Raises UsageError."""
    known = keep.hours == 0 and not keep.source.startswith(TO_BE_READ)
    if asked and on_success is OnSuccess.KEEP and known and not pinned:
        raise UsageError("--on-success keep: storage_expiration_hours is 0, so nothing would be kept",
                         "add --storage-expiration-hours 48, or --pin to keep it until you unpin it")


def open_root(store: Store, conf: Settings, launch_dir: Path) -> Root:
    """Open the configured root, and register it. Raises RootUnusable.

    A root that does not exist yet is created and marked. An existing folder without a marker is refused: it
    may be the mount point of a file system that is not mounted.
    """
    path = conf.root
    _check_place(path, launch_dir)
    with store.begin(write=False) as tx:
        record = queries.root_at(tx, str(path))
    if record is None and not path.exists():
        if not path.parent.exists() and conf.sources["root"] != "default":
            raise RootUnusable(f"{path} cannot be created: {path.parent} does not exist",
                               "is it mounted? otherwise create that folder first")
        root = Root.mark(path)
    else:
        root = Root.open(path)
    register(store, root, record)
    root.check_space(conf.account)
    return root


def mark_root(store: Store, conf: Settings) -> Root:
    """Mark the configured root at the user's request. A root registered at this path keeps its id.

    If the root has moved or was created anew, its registration is updated. Raises RootUnusable for a copy of
    a root that still exists, as the executions belong to the original, and for a name that is not UTF-8.
    """
    _check_name(conf.root)
    with store.begin(write=False) as tx:
        here = queries.root_at(tx, str(conf.root))
    root = Root.mark(conf.root, here.id if here else None)
    with store.begin(write=False) as tx:
        known = queries.known_root(tx, root.id)
    if known is None or (here is not None and here.id != root.id):
        register(store, root, here)
        return root
    if known.path != str(root.path) and _is_there(known):
        if os.path.samefile(known.path, root.path):
            raise RootUnusable(f"{root.path} is the root at {known.path}, seen twice", "use that path")
        raise RootUnusable(f"{root.path} is a copy of the root at {known.path}, which is still there",
                           f"to make it a root of its own, remove {root.path / MARKER} and mark it again")
    with store.begin() as tx:
        transitions.move_root(tx, root.id, str(root.path), root.inode)
    return root


def _is_there(known: queries.RootRecord) -> bool:
    """True when a root is still at its registered path."""
    try:
        found = Root.open(Path(known.path))
    except RootUnusable:
        return False
    return (found.id, found.inode) == (known.id, known.inode)


def register(store: Store, root: Root, record: queries.RootRecord | None) -> None:
    """Register a new root (`record` None); check one that is registered already. Raises RootUnusable."""
    if record is None:
        with store.begin() as tx:
            if transitions.register_root(tx, root.id, str(root.path), root.inode):
                return
    check_known(store, root)


def check_known(store: Store, root: Root) -> None:
    """Check that a registered root has its registered path, id and inode. Raises RootUnusable."""
    with store.begin(write=False) as tx:
        here, known = queries.root_at(tx, str(root.path)), queries.known_root(tx, root.id)
    if known is not None and here is None:
        raise RootUnusable(
            f"{root.path} has the mark of the root at {known.path}",
            "nothing was touched; mount it there again, or if it has moved, `nfresume doctor --mark-root`")
    if here is not None and (here.id, here.inode) != (root.id, root.inode):
        raise RootUnusable(f"{root.path} is not the root that was recorded there",
                           "nothing was touched; mount the right one, or `nfresume doctor --mark-root`")


def _check_name(root: Path) -> None:
    if _shown(str(root)) != str(root):
        raise RootUnusable(f"the name of the root {_shown(str(root))} is not UTF-8",
                           "choose another: NFRESUME_ROOT")
    if found := _NOT_FOR_NEXTFLOW.search(str(root)):
        raise RootUnusable(f"the name of the root {root} has a {found[0]!r}, which Nextflow misreads",
                           "choose another: NFRESUME_ROOT")


def _check_place(root: Path, launch_dir: Path) -> None:
    _check_name(root)
    real_root, real_launch = Path(os.path.realpath(root)), Path(os.path.realpath(launch_dir))
    if real_launch == real_root or real_root in real_launch.parents:
        raise RootUnusable(f"the launch folder {launch_dir} lies inside the root {root}",
                           "launch from a folder of your own: what is inside the root gets deleted")
    if real_launch in real_root.parents:
        between = real_root.relative_to(real_launch).parts
        # A hidden folder, such as ~/.local/share for a launch from ~, does not get into a pipeline's globs
        if not any(part.startswith(".") for part in between[:-1]):
            raise RootUnusable(f"the root {root} lies inside the launch folder {launch_dir}",
                               "choose a root elsewhere: NFRESUME_ROOT")


def check_output(options: RunOptions, root: Path, launch_dir: Path, taken: inputs.Taken) -> None:
    """Refuse an output folder inside or around the root. Raises UsageError."""
    in_file = kept_inputs.params(taken.named("-params-file") or b"{}").get("outdir")
    given = options.value("--outdir", "-o", "-output-dir") or (in_file if isinstance(in_file, str) else None)
    if not given or "://" in given:
        return
    out = Path(os.path.realpath(launch_dir / given))
    real_root = Path(os.path.realpath(root))
    if out == real_root or real_root in out.parents:
        raise UsageError(f"the output folder {given} lies inside the root {root}",
                         "results there would be deleted with the work dir; choose another folder")
    if out in real_root.parents:
        raise UsageError(f"the output folder {given} contains the root {root}", "choose one beside it")
