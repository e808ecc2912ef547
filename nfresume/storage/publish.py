"""Published results made real, so that they survive their work dir (design rule 2).

Nextflow publishes a symlink into the work dir unless told otherwise. Before a work dir goes, every link
in the folders of its results that leads into it is replaced, atomically, by the data itself: a hard link
where both sides are on one file system (the data is then owned by the result, and the work dir stays
whole until it is removed, so a crash or a lost race costs nothing), else a verified, fsynced copy. A
link that only passes through the work dir on its way out is pointed straight at its real target.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nfresume.storage import replacing
from nfresume.storage.crew import Crew, Pace
from nfresume.system import crashpoints, durable

#: The report of an attempt: path, what was done, and why not. Tab separated, a header line first.
RESULTS = "results.tsv"


@dataclass
class MadeReal:
    """What was done with each path that led into the work dir: `done` maps it to linked, copied or
    redirected; `refused` says of the others why the work dir must be kept."""

    done: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def count(self, how: str) -> int:
        """Number of files that were linked, copied or redirected."""
        return sum(each == how for each in self.done.values())

    def write(self, path: Path) -> None:
        """Write the report; what earlier passes did is kept. A folder that is full is no error."""
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


def make_real(
    targets: Iterable[str | os.PathLike[str]], work: Path, pace: Pace | None = None,
    alive: Callable[[], None] = lambda: None, formerly: Sequence[str] = (),
) -> MadeReal:
    """Make what was published as `targets` independent of `work`. Idempotent, also after a crash.

    What cannot be made real is reported in `refused`; the work dir must then be kept. `alive` is called
    a few times a second. `formerly` are paths that the work dir had when links into it were made.
    """
    absolute = [os.path.abspath(os.fspath(target)) for target in targets]
    return _Publisher(work, pace or Pace(), alive, formerly).run(absolute)


class _Publisher:
    def __init__(
        self, work: Path, pace: Pace, alive: Callable[[], None], formerly: Sequence[str]
    ) -> None:
        self._into = replacing.Into(os.path.realpath(work), formerly)
        self._workers = pace.removers(work)
        self._alive = alive
        self._lock = threading.Lock()
        self._result = MadeReal()
        self._visited: set[str] = set()
        self._crew: Crew[tuple[str, bool]]

    def run(self, targets: list[str]) -> MadeReal:
        """Folder by folder: the links beside a result are made real with it, whatever the log says."""
        published = dict.fromkeys(targets)
        folders = [f for f in dict.fromkeys(os.path.dirname(t) for t in published) if self._reach(f)]
        for target in published:
            if self._into.leads(os.path.dirname(target)):
                self._refuse(target, "published inside the work dir itself")
        # First what is directly in these folders, then, with no link left on the way, what is below.
        self._visit([(folder, False) for folder in folders])
        self._visit([(target, True) for target in published if _is_folder(target)])
        crashpoints.reach("results-real")
        return self._result

    def _visit(self, folders: list[tuple[str, bool]]) -> None:
        never = threading.Event()  # half of the results made real are no result: this is not paused
        self._crew = Crew(self._workers, never, self._settle)
        self._crew.run(folders, self._alive)

    def _reach(self, folder: str) -> bool:
        """Make the way to a folder real: where it leads over a link into the work dir, that link is what
        was published. False for a folder that is gone, or lies in the work dir itself."""
        for parent in [*reversed(Path(folder).parents), Path(folder)]:
            link = str(parent)
            if link not in self._visited and os.path.islink(link) and self._into.leads(link):
                self._replace_all(os.path.dirname(link), [link])
            self._visited.add(link)
        return os.path.isdir(folder) and not self._into.leads(folder)

    def _settle(self, unit: tuple[str, bool]) -> None:
        """Make real every link directly in a folder, and hand on what is below if that is asked for."""
        folder, deep = unit
        if deep:
            with self._lock:
                if (seen := f"{folder}/") in self._visited:
                    return
                self._visited.add(seen)
        try:
            replacing.finish(folder)
            with os.scandir(folder) as entries:
                links = []
                for entry in entries:
                    if entry.is_symlink():
                        links.append(entry.path)
                    elif deep and entry.is_dir(follow_symlinks=False):
                        self._crew.add([(entry.path, True)])
        except FileNotFoundError:
            return
        except OSError as e:
            self._refuse(folder, e.strerror)
            return
        self._replace_all(folder, sorted(links))

    def _replace_all(self, folder: str, links: list[str]) -> None:
        """Replace links of one folder; that they were must survive a crash before the work dir goes."""
        if sum(self._replace(link) for link in links):
            try:
                durable.fsync_folder(folder)
            except OSError as e:
                self._refuse(folder, e.strerror)

    def _replace(self, link: str) -> bool:
        try:
            how = self._into.replace(link)
        except OSError as e:
            self._refuse(link, e.strerror)
            return False
        crashpoints.reach("results-half-real")
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

