"""Start the head of an attempt.

What the last attempt left is ended and set aside first, and files that it needs are made again.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import sh

from nfresume import settings
from nfresume.domain.errors import Conflict, NfresumeError
from nfresume.domain.executions import Attempt, Execution, Lease, python_workflow
from nfresume.nextflow import command, options, sources
from nfresume.retained import additions, disposal
from nfresume.runs import clearing, lean, log_copies, preflight, programs, relaunching
from nfresume.storage.root import ExecutionFolder
from nfresume.store import Store, guarded, queries, transitions
from nfresume.system import crashpoints, inherited

_SHIM = Path(command.__file__).with_name("shim.py")


@dataclass(frozen=True)
class Start:
    """The start of a claimed attempt. `stdin` is what its head reads: a descriptor, or the path of a file.

    `end_left` ends what earlier attempts left running, and returns what it could not end. `guard` gives the
    guard of emptied files, from what was prepared. `check` raises StaleLease when another owns the attempt.
    """

    store: Store
    conf: settings.Settings
    execution: Execution
    attempt: Attempt
    lease: Lease
    folder: ExecutionFolder
    actor: str
    stdin: int | str | None
    end_left: Callable[[], list[psutil.Process]]
    guard: Callable[[str], str]
    check: Callable[[], None]

    def run(self) -> int:
        """Start the shim, which starts the head. Returns its pidfd.

        Raises StaleLease before anything is created, Conflict when it must not start, OSError and
        sh.ForkException when it cannot.
        """
        chosen = programs.find(self.conf, self.attempt.pipeline)
        with self.store.begin() as tx:
            transitions.engine_chosen(tx, self.lease, chosen.name, chosen.version)
        attempt_dir, launch_dir = self.folder.attempt(self.attempt.number), Path(self.execution.launch_dir)
        self.folder.provision(self.attempt.number)
        self._clear_predecessor()
        parsed = options.stored(self.attempt.pipeline, self.attempt.options)
        self._keep_sources(parsed.value("-main-script"))
        guard = self.guard(self._prepare_emptied())
        run = command.Run(
            run_name=self.attempt.run_name, session_id=self.execution.session_id,
            resume=self.attempt.resume, work_dir=self.folder.work,
            cache_dir=self.folder.cache, attempt_dir=attempt_dir,
        )
        log_copies.show(attempt_dir, launch_dir, self.attempt)
        words = programs.argv(self.conf, chosen, run, self.execution, self.attempt, parsed)
        shared = bool((self.folder.request(1) or {}).get(programs.SHARED))
        environment = programs.environment(self.conf, chosen, run, self.execution, self.attempt.pipeline,
                                           inherited.environment(), shared=shared, guard=guard)
        crashpoints.reach("spawning")
        stdin = programs.script_on_stdin(self.attempt, attempt_dir) or self.stdin
        stdout, stderr = attempt_dir / command.STDOUT, attempt_dir / command.STDERR
        with stdout.open("ab") as out, stderr.open("ab") as err, open(
                os.devnull if stdin is None else stdin, "rb") as given:
            shim = sh.Command(sys.executable)(
                "-I", "-S", str(_SHIM), str(attempt_dir), *words, _bg=True, _bg_exc=False,
                _new_session=True, _in=given, _out=out, _err=err, _cwd=str(launch_dir),
                _env=environment, _ok_code=list(range(256)),
            )
        return os.pidfd_open(shim.pid)

    def _keep_sources(self, main_script: str | None) -> None:
        launch_dir = Path(self.execution.launch_dir)
        with contextlib.suppress(OSError, NfresumeError):  # a later explanation then knows less
            local = preflight.check_pipeline(self.attempt.pipeline, launch_dir, main_script)
            sources.keep(local, launch_dir, self.folder.attempt(self.attempt.number))

    def _clear_predecessor(self) -> None:
        """Stop what is left of the last attempt, and set task dirs aside that the new one must not use."""
        if self.attempt.number == 1:
            return
        with self.store.begin(write=False) as tx:
            *earlier, _ = queries.attempts_of(tx, self.execution.id)
        if survivors := self.end_left():
            raise Conflict(f"{len(survivors)} processes of {earlier[-1].run_name} could not be stopped")
        moved = {"set_aside": clearing.unfinished(self.folder, earlier)}
        if self.attempt.resume and python_workflow(self.attempt.pipeline) is None:
            additions.keep(self.folder, self.attempt.number,
                           disposal.pace_of(self.conf).readers(self.folder.work), self.check)
            moved["failed_set_aside"] = clearing.failed(self.folder, self.attempt.number - 1, self.check)
        for name, task_dirs in moved.items():
            if task_dirs:
                with self.store.begin() as tx:
                    guarded.note(tx, self.execution.id, name, self.actor, {
                        "task_dirs": task_dirs[:100], "count": len(task_dirs)})

    def _prepare_emptied(self) -> str:
        """Have made again what is needed of the files that lean retention has emptied. Returns the guard."""
        if self.attempt.number == 1 or python_workflow(self.attempt.pipeline) is not None:
            return ""
        asked = self.folder.request(self.attempt.number) or {}
        try:
            prepared = lean.prepare(self.folder, self.attempt.number, self.attempt.pipeline, self.check,
                                    everything=bool(asked.get(relaunching.REHYDRATE)))
        except ValueError as e:
            raise Conflict(f"what earlier attempts needed of emptied files cannot be read: {e}") from None
        if prepared.set_aside:
            with self.store.begin() as tx:
                guarded.note(tx, self.execution.id, "made_again", self.actor, {
                    "task_dirs": list(prepared.set_aside[:100]), "count": len(prepared.set_aside),
                    "reason": prepared.because, "seconds": prepared.seconds})
        return prepared.guard
