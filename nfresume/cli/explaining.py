"""explain: why tasks of a relaunch ran again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nfresume.cli import options as common
from nfresume.cli.output import print_json, say

if TYPE_CHECKING:
    from nfresume.domain.executions import Execution
    from nfresume.runs.explaining import Explained, Explanation
    from nfresume.service.explaining import Group
    from nfresume.service.verbs import Service


def explain(
    words: Annotated[list[str], typer.Argument(metavar="ID [TASK]", help="The execution, and a task by "
                                               "name, process or task dir.")],
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Default: the last one.")] = None,
    account: common.Account = None,
    root: common.Root = None,
    as_json: common.Json = False,
) -> None:
    """Say why tasks of a relaunch ran again: what changed first, and what followed from it.

    For a Python task, FILE.py:TASK and a call's inputs tell whether the call would be reused.

    Examples:

      nfresume explain rnaseq-4k9x2m

      nfresume explain rnaseq-4k9x2m 'ALIGN (liver)'

      nfresume explain assembly.py:trim --reads sample.fastq
    """
    from nfresume.domain.executions import python_workflow

    if python_workflow(words[0]) is not None:
        from nfresume.cli import caching

        caching.explain(words[0], words[1:], account, root, as_json)
        return
    if len(words) > 2:
        from nfresume.domain.errors import UsageError

        raise UsageError(f"one task at a time: {' '.join(words[1:])}", "a name with blanks stands in quotes")
    with common.service(account, root) as service:
        execution = service.find(words[0])
        explained = service.explain_attempt(execution, attempt)
        if len(words) > 1:
            _one(service, execution, explained, words[1], as_json=as_json)
        else:
            _all(execution, explained, as_json=as_json)


def _all(execution: Execution, explained: Explained, *, as_json: bool) -> None:
    from nfresume.service import explaining

    if as_json:
        print_json({"execution": execution.id, **explaining.document(explained)})
        return
    if explained.whole:
        print(f"every task of attempt {explained.attempt} ran: {explained.whole}")
        return
    for group in explaining.tree(explained):
        _print(group, "")
    if not explained.tasks:
        print(f"no task of attempt {explained.attempt} ran again")
    if explained.left_out:
        say(f"{explained.left_out:,} more tasks ran and were not looked at")


def _print(group: Group, indent: str) -> None:
    from nfresume.domain.wording import printable

    print(f"{indent}{group.text()}")
    for cause in group.first.causes:
        for line in cause.detail:
            print(f"{indent}    {printable(line)}")
    for below in group.followed:
        _print(below, f"{indent}  ")


def _one(
    service: Service, execution: Execution, explained: Explained, wanted: str, *, as_json: bool
) -> None:
    from nfresume.service import explaining

    found = explaining.called(explained, wanted)
    if not found:
        _reused(service, execution, explained, wanted, as_json=as_json)
        return
    chain: dict[str, Explanation] = {}
    for task in found:
        chain |= {each.dir or each.name: each for each in explaining.chain(explained, task)}
    if as_json:
        print_json({"execution": execution.id, **explaining.document(explained, chain.values())})
        return
    for task in chain.values():
        _print(explaining.Group([task]), "")


def _reused(
    service: Service, execution: Execution, explained: Explained, wanted: str, *, as_json: bool
) -> None:
    """Say that a task was reused, or that every task ran. Raises NotFound when there is no such task."""
    from nfresume.domain.wording import printable
    from nfresume.service import explaining

    task = service.records(execution, explained.attempt).task(wanted)
    if as_json:
        print_json({"execution": execution.id, **explaining.document(explained, [])})
    elif explained.whole:
        print(printable(f"{task.name} ran: {explained.whole}"))
    elif task.status == "CACHED":
        by = f" from attempt {task.cached_from}" if task.cached_from else ""
        print(printable(f"{task.name} was reused{by}"))
    else:
        print(printable(f"{task.name} is {task.status}; why it ran is not known"))


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("explain", context_settings={"ignore_unknown_options": True})(explain)
