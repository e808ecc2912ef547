"""The causes of an attempt as a tree: what changed first, and what followed from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nfresume.domain.wording import printable
from nfresume.nextflow import task_dirs
from nfresume.runs.explaining import Explained, Explanation

#: So many lines follow a relaunch.
_MOST = 10


@dataclass
class Group:
    """Tasks of one process that ran for the same reasons. `followed`: what ran because of them."""

    tasks: list[Explanation]
    followed: list[Group] = field(default_factory=list)

    @property
    def first(self) -> Explanation:
        return self.tasks[0]

    def text(self) -> str:
        """One line: which tasks, and why."""
        first = self.first
        ran = "ran again" if first.again else "ran"
        why = "; ".join(cause.text for cause in first.causes)
        if len(self.tasks) == 1:
            return printable(f"{first.name} {ran}: {why}")
        return printable(f"{first.process}: {len(self.tasks)} tasks {ran}, such as {first.name}: {why}")

    def below(self) -> Iterator[Group]:
        """All groups that followed, near ones first."""
        for group in self.followed:
            yield group
        for group in self.followed:
            yield from group.below()


def tree(explained: Explained) -> list[Group]:
    """Groups of the tasks that have a cause of their own, with what followed from them."""
    known = explained.by_dir()
    children: dict[str, list[Explanation]] = {}
    roots = []
    for task in explained.tasks:
        parents = [cause.upstream for cause in task.causes if cause.upstream in known]
        if task.root or not parents:
            roots.append(task)
        else:
            children.setdefault(parents[0], []).append(task)
    return _grouped(roots, children)


def _grouped(tasks: Iterable[Explanation], children: dict[str, list[Explanation]]) -> list[Group]:
    found: dict[Any, Group] = {}
    for task in tasks:
        key = task.process, tuple((cause.kind, cause.detail) for cause in task.causes)
        if key in found:
            found[key].tasks.append(task)
        else:
            found[key] = Group([task])
    for group in found.values():
        below = [child for task in group.tasks for child in children.pop(task.dir, ())]
        group.followed = _grouped(below, children) if below else []
    return list(found.values())


def lines(explained: Explained) -> list[str]:
    """One line for each cause for which finished tasks ran again; the ten that most tasks had."""
    if explained.whole:
        return [f"every task ran: {explained.whole}"]
    found = []
    for group in tree(explained):
        if group.first.again:
            below = list(group.below())
            tasks = sum(len(each.tasks) for each in below)
            names = ", ".join(dict.fromkeys(each.first.process for each in below))
            more = f"; {tasks} {'task' if tasks == 1 else 'tasks'} followed ({printable(names)})"
            found.append((tasks + len(group.tasks), group.text() + (more if tasks else "")))
    found.sort(key=lambda line: -line[0])  # what cost most comes first
    rest = len(found) - _MOST
    return [text for _, text in found[:_MOST]] + ([f"and {rest} more causes"] if rest > 0 else [])


def document(explained: Explained, tasks: Iterable[Explanation] | None = None) -> dict[str, Any]:
    """For `--json` and the console. `tasks`: only these."""
    return {"attempt": explained.attempt, "whole": explained.whole or None, "left_out": explained.left_out,
            "tasks": [{
                "name": task.name, "process": task.process, "task_dir": task.dir or None,
                "again": task.again, "compared_with_attempt": task.before,
                "causes": [{"kind": cause.kind, "text": cause.text, "detail": list(cause.detail),
                            "upstream": cause.upstream or None} for cause in task.causes],
            } for task in (explained.tasks if tasks is None else tasks)]}


def called(explained: Explained, wanted: str) -> list[Explanation]:
    """The tasks that a user means by this text (`task_dirs.means`)."""
    return [task for task in explained.tasks if task_dirs.means(wanted, task.name, task.dir)]


def chain(explained: Explained, task: Explanation) -> list[Explanation]:
    """A task, and the tasks from which it follows, up to those that have a cause of their own."""
    known, found = explained.by_dir(), {task.dir or task.name: task}
    waiting = [task]
    while waiting:
        for cause in waiting.pop(0).causes:
            if cause.upstream in known and cause.upstream not in found:
                found[cause.upstream] = known[cause.upstream]
                waiting.append(known[cause.upstream])
    return list(found.values())
