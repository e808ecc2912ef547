"""Materialise published results, so that they survive their work dir (ARCHITECTURE.md, rule 3).

By default Nextflow publishes a symlink into the work dir. Before a work dir is deleted, each such link in
the folders of the results is replaced atomically by the real file. On one file system that is a hard link:
the work dir stays complete until it is removed, so a crash or a lost race costs nothing. Across file systems
it is a verified, fsynced copy. A link that passes through the work dir and ends outside it is replaced by a
link to its final target.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nfresume.storage import replacing
from nfresume.storage.workers import Pace, WorkerPool
from nfresume.system import crashpoints, durable

#: Name of an attempt's report: a TSV file of each path with linked, copied, redirected or refused.
RESULTS = "results.tsv"


@dataclass
class Materialised:
    """What happened to each published path that led into the work dir.

    `done` maps a path to linked, copied or redirected. `refused` has one line "path: reason" for each path
    that could not be materialised; the work dir must then be kept.
    """

    done: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def count(self, how: str) -> int:
        """Number of paths in `done` with this value: linked, copied or redirected."""
        return sum(each == how for each in self.done.values())

    def write(self, path: Path) -> None:
        """Write the report; paths that earlier passes materialised stay in it. A full disk is no error."""
        if not self.done and not self.refused:
            return
        rows = [f"{_one_line(target)}\t{how}\t" for target, how in self.done.items()]
        refused = [f"{_one_line(line)}\trefused\t" for line in self.refused]
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):
                old = path.read_text(errors="surrogateescape").splitlines()[1:]
                mine = {row.split("\t", 1)[0] for row in rows}
                kept = [row for row in old if "\trefused\t" not in row and row.split("\t", 1)[0] not in mine]
                rows = kept + rows
            text = "\n".join(["path\thow\t", *rows, *refused, ""])
            durable.write(path, text.encode(errors="surrogateescape"))


def materialise(
    targets: Iterable[str | os.PathLike[str]], work: Path, pace: Pace | None = None,
    heartbeat: Callable[[], None] = lambda: None, former_paths: Sequence[str] = (),
) -> Materialised:
    """Make the published paths `targets` independent of the work dir `work`. Safe to repeat after a crash.

    Paths that cannot be materialised are listed in `refused`; the work dir must then be kept. `heartbeat` is
    called several times a second. `former_paths` are paths that the work dir had before its root moved: links
    made then still contain them.
    """
    absolute = [os.path.abspath(os.fspath(target)) for target in targets]
    return _Materialiser(work, pace or Pace(), heartbeat, former_paths).run(absolute)


class _Materialiser:
    def __init__(
        self, work: Path, pace: Pace, heartbeat: Callable[[], None], former_paths: Sequence[str]
    ) -> None:
        self._replacer = replacing.LinkReplacer(os.path.realpath(work), former_paths)
        self._workers = pace.removers(work)
        self._heartbeat = heartbeat
        self._lock = threading.Lock()
        self._result = Materialised()
        self._visited: set[str] = set()
        self._pool: WorkerPool[tuple[str, bool]]

    def run(self, targets: list[str]) -> Materialised:
        """Materialise every link in the targets' folders: the log may not name all of them."""
        published = dict.fromkeys(targets)
        parents = dict.fromkeys(os.path.dirname(t) for t in published)
        folders = [folder for folder in parents if self._materialise_parents(folder)]
        for target in published:
            if self._replacer.ends_inside(os.path.dirname(target)):
                self._refuse(target, "published inside the work dir itself")
        # First the entries of these folders. After that no published folder is a link: descend into them.
        self._visit([(folder, False) for folder in folders])
        self._visit([(target, True) for target in published if _is_folder(target)])
        crashpoints.reach("results-materialised")
        return self._result

    def _visit(self, folders: list[tuple[str, bool]]) -> None:
        never = threading.Event()  # never set: this does not pause, a half-materialised folder has no use
        self._pool = WorkerPool(self._workers, never, self._materialise_folder)
        self._pool.run(folders, self._heartbeat)

    def _materialise_parents(self, folder: str) -> bool:
        """Materialise each parent of `folder` that is a link into the work dir: that link was published.

        Returns False for a folder that does not exist or lies in the work dir itself.
        """
        for parent in [*reversed(Path(folder).parents), Path(folder)]:
            link = str(parent)
            if link not in self._visited and os.path.islink(link) and self._replacer.ends_inside(link):
                self._replace_all(os.path.dirname(link), [link])
            self._visited.add(link)
        return os.path.isdir(folder) and not self._replacer.ends_inside(folder)

    def _materialise_folder(self, unit: tuple[str, bool]) -> None:
        """Materialise every link directly in a folder; if `deep`, also queue its subfolders."""
        folder, deep = unit
        if deep:
            with self._lock:
                if (seen := f"{folder}/") in self._visited:
                    return
                self._visited.add(seen)
        try:
            replacing.clean_up(folder)
            with os.scandir(folder) as entries:
                links = []
                for entry in entries:
                    if entry.is_symlink():
                        links.append(entry.path)
                    elif deep and entry.is_dir(follow_symlinks=False):
                        self._pool.add([(entry.path, True)])
        except FileNotFoundError:
            return
        except OSError as e:
            self._refuse(folder, e.strerror)
            return
        self._replace_all(folder, sorted(links))

    def _replace_all(self, folder: str, links: list[str]) -> None:
        """Replace links of one folder and fsync it; only then may the work dir be deleted."""
        if sum(self._replace(link) for link in links):
            try:
                durable.fsync_folder(folder)
            except OSError as e:
                self._refuse(folder, e.strerror)

    def _replace(self, link: str) -> bool:
        try:
            how = self._replacer.replace(link)
        except OSError as e:
            self._refuse(link, e.strerror)
            return False
        crashpoints.reach("results-half-materialised")
        if how is None:
            return False
        with self._lock:
            self._result.done[link] = how
        return True

    def _refuse(self, path: str, reason: str | None) -> None:
        with self._lock:
            self._result.refused.append(f"{path}: {reason}")


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")

