"""Start tasks when there are CPUs and memory for them, watch them, and retry them."""

from __future__ import annotations

import os
import selectors
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume_metadata import LatchDir, LatchFile

from nfresume import settings
from nfresume.system import capacity
from nfresume.tasks import (
    calling,
    inputs,
    isolation,
    loading,
    promises,
    running,
    scratch,
    values,
    views,
    worker,
)
from nfresume.tasks.calls import Call, Order
from nfresume.tasks.containers import CannotBuild, Containers
from nfresume.tasks.declaring import Task
from nfresume.tasks.gpus import Gpus
from nfresume.tasks.graph import Node, encoded
from nfresume.tasks.recording import Log
from nfresume.tasks.reusing import shown_hash, task_dir_name
from nfresume.tasks.running import Process
from nfresume.tasks.sizes import Resources

#: How many Slurm jobs may wait or run at once. For each one an sbatch process runs on this host.
MAX_SLURM_JOBS = 200
#: What is raised by inputs that cannot be read, digested or encoded.
BAD_INPUT = (OSError, TypeError, ValueError, LookupError, AttributeError, values.Unreadable)
_GIB = 1 << 30


@dataclass(frozen=True)
class Ended:
    """How a call ended. `problem` is None for a success, `seconds` how long it ran.

    `retry`: the call must be run (again). `cache_missed`: because its cache entry could not be used.
    """

    problem: str | None
    retry: bool = False
    cache_missed: bool = False
    seconds: float = 0.0


@dataclass(eq=False)
class _Run:
    node: Node
    restore: bool
    needs: Resources
    process: Process | None = None
    gpus: tuple[str, ...] = ()
    began: float = 0.0
    timed_out: bool = False


class Executor:
    """Runs tasks on this host, within its CPUs and memory, or as Slurm jobs."""

    def __init__(self, order: Order, call: Call, log: Log, selector: selectors.BaseSelector) -> None:
        self._order = order
        self._output = call.output
        self._log = log
        self._selector = selector
        self._file = str(Path(order.pipeline.rpartition(":")[0]).resolve())
        self._slurm = order.executor == "slurm"
        self._cpus = float(call.jobs or capacity.cpus())
        self._memory = capacity.memory() / _GIB
        self._gpus = Gpus()
        self._told_of_gpus = False
        top, _ = loading.package_of(Path(self._file))
        self._project = str(top) if top != Path(self._file).parent else ""
        folder = Path(self._file).parent
        self._containers = Containers(settings.load(), list(dict.fromkeys((folder, top))))
        self._isolate = self._slurm or self._probe(Path(order.work))
        self._waiting: deque[_Run] = deque()
        self._runs: dict[int, _Run] = {}
        log.executor(order.executor)

    def _probe(self, work: Path) -> bool:
        scratch.tidy()
        if problem := isolation.probe(work):
            self._say(f"tasks share /root and /tmp here ({problem}): those that write there run one at "
                      "a time")
        return problem is None

    def _container(self, task: Task) -> dict[str, str] | None:
        found = self._containers.of(task.dockerfile, task.image or None)
        while self._containers.notes:
            self._say(self._containers.notes.pop())
        return None if found is None else dict(vars(found))

    def _say(self, text: str) -> None:
        self._log.line(text)
        print(f"nfresume: {text}", file=sys.stderr, flush=True)

    def _outputs(self, node: Node) -> dict[str, bool]:
        """The paths that a call gets as places for output, and whether each must be a folder."""
        assert node.task is not None
        hints = node.task.hints
        return {
            os.path.abspath(value): isinstance(value, LatchDir) for name, value in node.inputs.items()
            if isinstance(value, Path) or (
                isinstance(value, LatchFile | LatchDir) and "://" not in str(value)
                and (getattr(value, "is_place", False) or inputs.is_output(hints.get(name))))}

    def add(self, node: Node, *, restore: bool) -> None:
        """Queue a call. `restore`: copy its cache entry instead of running it."""
        assert node.task is not None
        needs = Resources(1, 0) if restore else node.task.needs(self._inputs(node))
        self._waiting.append(_Run(node, restore, needs if self._slurm else self._limited(node, needs)))

    def _limited(self, node: Node, needs: Resources) -> Resources:
        """What a task can have of what it asks for: at most all that this host has."""
        gpus = min(needs.gpu, self._gpus.total) if needs.gpu else 0
        if gpus < needs.gpu and not self._told_of_gpus:
            self._told_of_gpus = True
            self._say(f"{node.name} asks for {needs.gpu} GPU{'s' * (needs.gpu > 1)}, and this host has "
                      f"{gpus or 'none'}: such tasks run with that")
        return Resources(min(needs.cpu, self._cpus), min(needs.memory, self._memory), needs.storage, gpus)

    def _inputs(self, node: Node) -> dict[str, Any]:
        assert node.task is not None
        if isinstance(node.task.resources, Resources):
            return {}
        return {name: promises.resolve(value, lambda n: n.value()) for name, value in node.inputs.items()}

    def start(self) -> list[tuple[Node, Ended]]:
        """Start calls from the queue, in order, while they fit. So large tasks get their turn.

        Returns the calls that cannot be started because their inputs cannot be read or encoded.
        """
        failed = []
        while self._waiting and self._fits(self._waiting[0].needs):
            run = self._waiting.popleft()
            try:
                self._start(run)
            except CannotBuild as e:
                self._gpus.give_back(run.gpus)
                failed.append((run.node, Ended(f"cannot run: {e}")))
            except BAD_INPUT as e:
                self._gpus.give_back(run.gpus)
                failed.append((run.node, Ended(f"cannot run: its inputs: {e}")))
        return failed

    def _fits(self, needs: Resources) -> bool:
        if self._slurm:
            return len(self._runs) < MAX_SLURM_JOBS
        used = [run.needs for run in self._runs.values()]
        return (self._gpus.has(needs.gpu) and sum(r.cpu for r in used) + needs.cpu <= self._cpus + 1e-9
                and sum(r.memory for r in used) + needs.memory <= self._memory + 1e-9)

    def _start(self, run: _Run) -> None:
        node, task = run.node, run.node.task
        assert task is not None
        assert node.key is not None
        if not self._slurm:
            run.gpus = self._gpus.take(run.needs.gpu)
        node.tries += not run.restore  # restoring a cache entry does not count as a try
        identity = f"{self._order.run_name}:{node.number}:{node.tries}"
        node.task_dir = task_dir = Path(self._order.work) / task_dir_name(identity)
        task_dir.mkdir(parents=True)
        (task_dir / running.SCRIPT).write_text(task.source)
        writer = values.Writer(task_dir / calling.VALUES)
        given = {name: encoded(value, writer) for name, value in node.inputs.items()}
        written = self._outputs(node)
        here = Path.cwd()
        places = dict.fromkeys([here, *(views.output_place(Path(path), here, is_folder=is_folder)
                                        for path, is_folder in written.items())])
        order = worker.Order(
            self._file, task.number, node.key, given, self._order.account_folder, self._order.execution,
            str(self._output), run.restore, tuple(written),
            tuple(str(path) for path in places if views.may_be_shared(path)), self._project,
            self._isolate, task.cache, task.cache_serialize, self._checkpoint(node),
            run.gpus, None if run.restore else self._container(task), node.read)
        order.write(task_dir)
        if not run.restore:
            self._log.submitted(shown_hash(task_dir), node.name)
        if self._slurm:
            run.process = running.start_slurm(task_dir, run.needs, f"{self._order.run_name}-{node.number}",
                                              tuple(self._order.executor_options))
        else:
            run.process = running.start_local(task_dir, order, task)
        run.began = time.monotonic()
        run.process.deadline = running.deadline(0 if run.restore else task.timeout)
        self._runs[run.process.pidfd] = run
        self._selector.register(run.process.pidfd, selectors.EVENT_READ)

    def _checkpoint(self, node: Node) -> str:
        """The name of what a call keeps for its next try: the same for the same call of a relaunch."""
        assert node.key is not None
        if node.key.unkeyed:
            return f"{self._order.run_name}-{node.number}"
        return f"{node.key.digest}-{node.turn}"

    # -- watch ----------------------------------------------------------------------------------

    def wait_seconds(self) -> float | None:
        """How long the head may wait for events before it must call `ended`; None: without limit."""
        ends = [run.process.deadline for run in self._runs.values() if run.process and run.process.deadline]
        unlogged = any(run.process and run.process.job_output and not run.process.job_logged
                       for run in self._runs.values())
        times = [end - time.monotonic() for end in ends] + ([0.5] if unlogged else [])
        return max(0.0, min(times)) if times else None

    def ended(self) -> Iterator[tuple[Node, Ended]]:
        """The calls whose process has ended. Also stops the processes whose timeout is over."""
        for key, _ in self._selector.select(0):
            run = self._runs.get(key.fd) if isinstance(key.fd, int) else None
            if run is not None:
                yield run.node, self._finish(run)
        for run in self._runs.values():
            self._watch(run)

    def _watch(self, run: _Run) -> None:
        process = run.process
        assert process is not None
        if process.job_output and not process.job_logged and (job := running.job_id(process)):
            process.job_logged = True
            assert run.node.task_dir is not None
            self._log.job(run.node.name, job, run.node.task_dir)
        if process.deadline is not None and time.monotonic() > process.deadline:
            run.timed_out = True
            process.stop(hard=process.killed)
            process.killed = True
            process.deadline = time.monotonic() + running.GRACE_SECONDS

    def _finish(self, run: _Run) -> Ended:
        process, node = run.process, run.node
        assert process is not None
        assert node.task_dir is not None
        assert node.task is not None
        self._selector.unregister(process.pidfd)
        del self._runs[process.pidfd]
        self._gpus.give_back(run.gpus)
        code = process.wait()
        seconds = time.monotonic() - run.began
        if run.restore and code != 0:
            miss = _tail(node.task_dir / ".miss") or "its cached result could not be copied"
            return Ended(miss, retry=True, cache_missed=True)
        if run.restore:
            return Ended(None, seconds=seconds)
        (node.task_dir / running.EXIT).write_text(str(code))
        has_result = (node.task_dir / worker.RESULT).exists()
        problem = None if code == 0 and has_result else self._problem(run, code)
        shown = code if problem is None or code != 0 else 1
        self._log.completed(node.number + 1, node.name, shown, node.task_dir)
        if problem is None:
            return Ended(None, seconds=seconds)
        retry = node.tries <= node.task.retries
        if retry:
            self._log.retried(shown_hash(node.task_dir), node.name, problem)
        return Ended(problem, retry=retry, seconds=seconds)

    def _problem(self, run: _Run, code: int) -> str:
        assert run.node.task_dir is not None
        assert run.node.task is not None
        if run.timed_out:
            return f"took longer than its timeout of {run.node.task.timeout:g} s"
        lines = _tail(run.node.task_dir / running.ERR).strip().splitlines()
        error = lines[-1].strip() if lines else _tail(run.node.task_dir / ".sbatch.err").strip()
        error = _head(run.node.task_dir / calling.PROBLEM) or error
        how = f"was killed by signal {-code}" if code < 0 else f"failed with exit status {code}"
        return f"{how}: {error}" if error else how

    def stop(self, nodes: Set[Node] | None = None) -> None:
        """Stop all calls, or only these, and wait for their processes."""
        self._waiting = deque(run for run in self._waiting if nodes is not None and run.node not in nodes)
        stopped = {fd: run for fd, run in self._runs.items() if nodes is None or run.node in nodes}
        for hard in (False, True):
            for run in stopped.values():
                assert run.process is not None
                run.process.stop(hard=hard)
            end = time.monotonic() + running.GRACE_SECONDS
            while stopped and time.monotonic() < end:
                for fd in _readable(stopped, max(0.0, end - time.monotonic())):
                    run = stopped.pop(fd)
                    del self._runs[fd]
                    self._gpus.give_back(run.gpus)
                    self._selector.unregister(fd)
                    assert run.process is not None
                    run.process.wait()


def _readable(fds: Iterable[int], seconds: float) -> list[int]:
    """Those that can be read, after at most so many seconds."""
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        return [int(key.fd) for key, _ in selector.select(seconds)]


def _tail(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[-4096:]
    except OSError:
        return ""


def _head(path: Path, limit: int = 1000) -> str:
    try:
        with path.open(errors="replace") as file:
            text = file.read(limit + 1)
    except OSError:
        return ""
    return text if len(text) <= limit else f"{text[:limit]}..."
