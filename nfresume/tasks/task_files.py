"""Copy, stamp and publish the files of tasks.

A copied folder stands alone. A link to something inside of it stays a link, relative. A link that leads out
of it is followed: what it leads to is copied in its place. A link to nothing is refused, because what it was
meant to hold would be lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Set
from pathlib import Path

from nfresume.system import trees

_FICLONE = 0x40049409  # linux/fs.h


#: Gives the file that may be linked instead of copying the one at a path; None: there is none.
Written = Callable[[Path], Path | None]


def copy(source: Path, target: Path, written: Written = lambda _: None) -> None:
    """Copy a file or folder. Where the file system supports it, blocks are shared copy-on-write.

    It makes hard links only to what `written` gives: a task that writes to its input would change the
    original. If `source` is a link, it is followed. Raises OSError, also for a link to nothing, and for what
    is neither file nor folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        _copy_tree(source, target, source.resolve(), (), written)
    else:
        _check_regular(source)
        _take_file(source, target, written)


def _take_file(source: Path, target: Path, written: Written) -> None:
    if (own := written(source)) is not None and not target.exists():
        with contextlib.suppress(OSError):  # on another file system
            os.link(own, target)
            return
    _replace_file(source, target)


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise OSError(f"{path} is neither file nor folder")


def leads_out(link: Path, top: Path) -> bool:
    """True when a link leads out of the folder `top`, which has no link in its own path.

    Raises OSError for a link to nothing, and for one to a folder that contains it.
    """
    try:
        real = link.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        raise OSError(f"{link} is a link to {os.readlink(link)}, which does not exist") from None
    except RuntimeError:  # Python 3.11 and 3.12 say so of a loop
        raise OSError(f"{link} is a link to itself") from None
    if real != top and real in top.parents:
        raise OSError(f"{link} is a link to a folder that contains it")
    return real != top and top not in real.parents


def _copy_tree(
    source: Path, target: Path, top: Path, above: tuple[Path, ...], written: Written = lambda _: None
) -> None:
    """Copy a folder into `target`, merging. `top`: the folder in which links may stay links, resolved.

    `above`: the folders outside of it that are being copied, to notice a loop.
    """
    target.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(source.stat().st_mode)
    if not mode & stat.S_IWUSR and stat.S_IMODE(target.stat().st_mode) == mode:
        target.chmod(mode | stat.S_IRWXU)  # an earlier copy, as read-only as its source
    with os.scandir(source) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        here, there = source / entry.name, target / entry.name
        if entry.is_symlink() and not leads_out(here, top):
            _link(os.path.relpath(here.resolve(), source.resolve()), there)
        elif entry.is_dir():
            real = here.resolve()
            if real in above:
                raise OSError(f"{here} is a link to a folder that contains it")
            inside = (top, above) if not entry.is_symlink() else (real, (*above, top, real))
            _copy_tree(real if entry.is_symlink() else here, there, *inside, written)
        else:
            _check_regular(here)
            _take_file(here, there, written)
    with contextlib.suppress(OSError):
        shutil.copystat(source, target)


def _link(text: str, path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    path.symlink_to(text)


def beside(path: Path, mark: str = "") -> Path:
    """A hidden path beside another one, for what is made there; with a `mark` the same one each time.

    Names may be as long as file systems take them, 255 bytes.
    """
    name = os.fsdecode(os.fsencode(path.name)[:200])
    return path.with_name(f".{name}.{mark or f'{uuid.uuid4().hex[:8]}.tmp'}")


def _replace_file(source: Path, target: Path) -> None:
    """Copy a file completely or not at all."""
    new = beside(target)
    try:
        _copy_file(str(source), str(new))
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


def _copy_file(source: str, target: str) -> str:
    if not clone(Path(source), Path(target)):
        with open(source, "rb") as read, open(target, "wb") as write:
            shutil.copyfileobj(read, write, 4 << 20)
        with contextlib.suppress(OSError):
            shutil.copystat(source, target)
    return target


def clone(source: Path, target: Path) -> bool:
    """Let a new file share the blocks of another one, copy-on-write. False: the file system cannot.

    Raises OSError when one of them cannot be opened.
    """
    with open(source, "rb") as read, open(target, "wb") as write:
        try:
            fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
        except OSError:
            cloned = False
        else:
            cloned = True
    if not cloned:
        target.unlink()
        return False
    with contextlib.suppress(OSError):
        shutil.copystat(source, target)
    return True


def settle_links(
    folder: Path, without: Set[Path] = frozenset(), written: Written = lambda _: None
) -> None:
    """Replace each link that leads out of a folder by what it leads to. Raises OSError as `copy` does.

    `without`: links that are left alone.
    """
    top = folder.resolve()
    for parent, folders, files in trees.walk(top):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path in without:
                continue
            if not path.is_symlink():
                _check_regular(path)
            elif leads_out(path, top):
                real = path.resolve()
                new = beside(path)
                copy(real, new, written)
                path.unlink()
                new.rename(path)
            elif os.path.isabs(os.readlink(path)):
                _link(os.path.relpath(path.resolve(), parent), path)


def stamp(path: Path) -> str:
    """Size and time stamp of a file, or the totals of a folder. A change of content changes the stamp.

    The content is not read. A folder that cannot be listed counts, as it may become readable. Raises OSError
    when there is nothing at `path`.
    """
    status = path.stat()
    if not path.is_dir():
        return f"{status.st_size}:{status.st_mtime_ns}"
    count = size = newest = 0
    unreadable: list[OSError] = []
    for parent, folders, files in trees.walk(path, unreadable.append):
        for name in (*folders, *files):
            found = os.lstat(os.path.join(parent, name))
            count, size = count + 1, size + (found.st_size if name in files else 0)
            newest = max(newest, found.st_mtime_ns)
    return f"{count}:{size}:{newest}" + (f":{len(unreadable)}" if unreadable else "")


def publish_target(path: str, remote: str, output: Path) -> Path:
    """Where to publish a file with a remote URL: `latch:///a/b` goes to `<output>/a/b`, never outside.

    A `file://` URL is made of a place for output that the user has given, and means itself. If a folder is
    there, a file goes into it, as with `cp`.
    """
    rest = remote.split("://", 1)[1]
    if remote.startswith("latch:") and not rest.startswith("/"):
        rest = rest.partition("/")[2]  # latch://<account>/path
    parts = [part for part in rest.split("/") if part not in ("", ".", "..")]
    target = output.joinpath(*parts) if parts else output / Path(path).name
    if remote.startswith("file://"):
        target = Path(os.path.normpath(rest))
    return target / Path(path).name if target.is_dir() and not Path(path).is_dir() else target


def publish(source: Path, target: Path) -> None:
    """Copy `source` to `target`: a file completely or not at all, a folder by merging. Raises OSError."""
    if source.is_dir():
        if os.path.lexists(target) and not target.is_dir():
            raise OSError(f"{target} is there, and is no folder: the folder {source.name} cannot go there")
        _copy_tree(source, target, source.resolve(), ())
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    _replace_file(source, target)
