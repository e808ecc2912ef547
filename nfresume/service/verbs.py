"""Everything that a user can do with executions. The terminal and the web call nothing below this module."""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from nfresume import launchers
from nfresume.domain import retention
from nfresume.domain.errors import Conflict, Expired, RemovalBlocked, ResultsAtRisk, RootUnusable, UsageError
from nfresume.domain.executions import (
    ID_ALPHABET,
    ID_RANDOM_LENGTH,
    Execution,
    id_stem,
    run_name,
)
from nfresume.domain.workdirs import Claim, OnSuccess, RemovalProgress, Retain, WorkDirState
from nfresume.launchers import Launcher
from nfresume.nextflow import options
from nfresume.retained import deletion, disposal, measuring, old_records, places
from nfresume.runs import cancelling, inputs, log_copies, preflight, programs, relaunching
from nfresume.runs.relaunching import RelaunchRequest
from nfresume.service.inspection import Inspection
from nfresume.service.patience import Patience
from nfresume.settings import Settings, user_name
from nfresume.storage.root import ExecutionFolder, Root
from nfresume.storage.scan import Size
from nfresume.store import Store, Tx, guarded, keeping, queries, removals, transitions
from nfresume.system import crashpoints

if TYPE_CHECKING:
    from nfresume.retained.task_caches import Pruned
    from nfresume.tasks.cache import Entry

#: For how long `wait` looks often. Most waits are short: an attempt is settled milliseconds after its end.
_EAGER_SECONDS = 3.0


@dataclass(frozen=True)
class LaunchRequest:
    """A launch that a user asks for. `words` are the arguments of `nextflow run`, the pipeline among them."""

    words: tuple[str, ...]
    launch_dir: Path
    storage_expiration_hours: object = None
    metadata: Path | None = None
    pinned: bool = False
    retain: Retain | None = None  # None: as the settings say
    on_success: OnSuccess | None = None
    tags: Mapping[str, str] | None = None
    script: bytes | None = None  # what standard input held, for the pipeline `-`
    attached: old_records.Attached = ()


@dataclass(frozen=True)
class Measured:
    """A work dir's size, in total and by process.

    `scanned`: how many task dirs were not measured before; `partial`: the scan did not see everything.
    """

    total: Size
    processes: list[measuring.ProcessSize]
    scanned: int
    partial: bool


def new_id(name: str) -> str:
    """A new execution id, readable with a random end, such as `rnaseq-4k9x2m`."""
    random = "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_RANDOM_LENGTH))
    return f"{id_stem(name)}-{random}"


class Service(Inspection):
    """Everything that a user can do, for one account of one database.

    `actor` is who does it, in the history (default: the OS user and the host).
    """

    def __init__(
        self, conf: Settings, launcher: Launcher | None = None, store: Store | None = None,
        actor: str | None = None,
    ) -> None:
        super().__init__(conf, store or Store.open(conf.database_url))
        self._launcher = launcher or launchers.chosen(conf)
        self._actor = actor or f"{user_name()}@{conf.host}"

    # -- launch and relaunch --------------------------------------------------------------------

    def launch(
        self, request: LaunchRequest, notify: Callable[[str], None] = lambda _: None,
        storing: Callable[[], None] = lambda: None,
    ) -> Execution:
        """Check the request, store the execution, and start a supervisor. `notify` gets progress messages.

        `storing` is called right before the execution is stored: until then nothing has to be undone.
        A refusal raises before the execution is stored: UsageError, NotFound, InvalidMetadata,
        EngineUnavailable or RootUnusable.
        """
        parsed = options.parse(request.words)
        local = preflight.check_pipeline(parsed.pipeline, request.launch_dir, parsed.value("-main-script"))
        assert parsed.pipeline is not None
        taken = inputs.take(parsed, request.launch_dir, request.script)
        inputs.check_json(parsed, taken)
        keep = preflight.retention_of(
            local, parsed.pipeline, request.storage_expiration_hours, request.metadata, self.conf,
            preflight.check_workflow(parsed, request.launch_dir, taken),
        )
        on_success = request.on_success or self.conf.on_success
        preflight.check_keep(on_success, keep, pinned=request.pinned, asked=request.on_success is not None)
        root = preflight.open_root(self.store, self.conf, request.launch_dir)
        preflight.check_output(parsed, root.path, request.launch_dir, taken)
        chosen = programs.find(self.conf, parsed.pipeline, notify)
        execution_id = new_id(parsed.name or parsed.pipeline)
        folder = root.execution(self.account, execution_id)
        new = transitions.NewExecution(
            id=execution_id, account=self.account, root_id=root.id, work_dir=str(folder.work),
            pipeline=parsed.pipeline, launch_dir=str(request.launch_dir), session_id=str(uuid.uuid4()),
            storage_expiration_hours=keep.hours, storage_expiration_source=keep.source,
            pinned=request.pinned, retain=request.retain or self.conf.retain, on_success=on_success,
            tags=request.tags,
        )
        attempt = transitions.NewAttempt(parsed.pipeline, parsed.words, False, chosen.name, chosen.version,
                                         self._launcher.name)
        storing()
        with self.store.begin() as tx:
            transitions.launch(tx, new, attempt, self._actor)
        metadata = preflight.metadata_file(local, request.metadata)
        self._start(folder, 1, attempt, taken, metadata, request.attached)
        return self.get(execution_id)

    def _start(
        self, folder: ExecutionFolder, number: int, attempt: transitions.NewAttempt, taken: inputs.Taken,
        metadata: str | None, attached: old_records.Attached = (), more: Mapping[str, object] | None = None,
    ) -> None:
        crashpoints.reach("launched")
        e = self.get(folder.execution_id)
        try:
            folder.begin_records(number, {
                "work_dir": str(folder.work), "session_id": e.session_id, "launch_dir": e.launch_dir,
                "hours": e.storage_expiration_hours, "hours_source": e.storage_expiration_source,
                programs.SHARED: self.conf.environment_cache_hours > 0,
                log_copies.METADATA: metadata, old_records.ATTACHED: list(attached),
                **asdict(attempt), **(more or {})})
            folder.writing(lambda: inputs.write(taken, folder.attempt(number)))
        except RootUnusable as refused:
            from nfresume.runs import lost

            lost.fail_queued(self.store, self.conf, e, refused.message)
            raise
        log = folder.attempt(number) / "supervisor.log"
        self._launcher.start(folder.execution_id, run_name(folder.execution_id, number), log)
        crashpoints.reach("started")

    def relaunch(
        self, execution: Execution, request: RelaunchRequest, notify: Callable[[str], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None, storing: Callable[[], None] = lambda: None,
    ) -> Execution:
        """Start a new attempt in the same session and work dir.

        `notify` and `storing` are as in `launch`; `warn` gets what the user should know: inputs that have
        changed, another version of Nextflow. Raises Conflict when the state does not allow it, Expired when
        the work dir is gone, and what `launch` raises.
        """
        execution = self.settle_if_lost(execution)
        relaunching.check_state(execution)
        hours = self._hours(execution, request)
        preflight.check_keep(
            request.on_success or execution.on_success, preflight.Retention(*(hours or (
                execution.storage_expiration_hours, execution.storage_expiration_source))),
            pinned=request.pinned or execution.work_dir.pinned, asked=request.on_success is not None,
        )
        with self.store.begin(write=False) as tx:
            last = queries.attempt(tx, execution.id, execution.attempt)
        folder = places.folder_of(self.store, execution)
        parsed, taken = relaunching.options_of(execution, last, request, folder)
        folder.root.check_space(self.account)
        preflight.check_output(parsed, folder.root.path, Path(execution.launch_dir), taken)
        assert parsed.pipeline is not None
        chosen = programs.find(self.conf, parsed.pipeline, notify)
        resume = relaunching.check_cache(execution, folder, request)
        relaunching.check_leftovers(execution, last, folder, request)
        number = execution.attempt + 1
        attempt = transitions.NewAttempt(
            parsed.pipeline, parsed.words, resume, chosen.name, chosen.version,
            self._launcher.name,
        )
        notes = [*taken.changed, *relaunching.version_note(last, chosen.version, request)]
        storing()
        with self.store.begin() as tx:
            transitions.relaunch(tx, execution.id, number, attempt, self._actor, str(folder.work))
            if hours is not None:
                keeping.set_expiration(tx, execution.id, *hours, self._actor)
            keeping.set_policy(tx, execution.id, request.retain, request.on_success, self._actor)
            if request.pinned:
                keeping.pin(tx, execution.id, self._actor)
            for text in notes:
                guarded.note(tx, execution.id, "note", self._actor, {"text": text})
        for text in notes:
            warn(text)
        relaunching.move_reports_aside(parsed, Path(execution.launch_dir), last.run_name)
        metadata = (folder.request(last.number) or {}).get(log_copies.METADATA)
        more = {relaunching.REHYDRATE: True} if request.rehydrate else {}
        self._start(folder, number, attempt, taken, metadata, request.attached, more)
        return self.get(execution.id)

    def rehydrate(
        self, execution: Execution, notify: Callable[[str], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None, storing: Callable[[], None] = lambda: None,
    ) -> Execution:
        """Relaunch so that all files are made again that lean retention has emptied, and stay from now on.

        The work dir is kept after a success, too. Raises Conflict when nothing is emptied, and what
        `relaunch` raises.
        """
        if self.emptied(execution) is None:
            raise Conflict(f"no file of {execution.id} is emptied", "there is nothing to make again")
        keep = OnSuccess.KEEP if execution.storage_expiration_hours else None
        return self.relaunch(execution, RelaunchRequest(rehydrate=True, retain=Retain.SLIM, on_success=keep),
                             notify, warn, storing)

    def settle_if_lost(self, execution: Execution) -> Execution:
        """Settle the attempt now if it is lost, so that nobody has to wait for the next sweep."""
        if not execution.state.live:
            return execution
        from nfresume.runs import lost  # all of a settlement: a launch starts without it

        lost.settle_if_lost(self.store, self.conf, execution.id)
        return self.get(execution.id)

    def _hours(self, execution: Execution, request: RelaunchRequest) -> tuple[float, str] | None:
        if request.storage_expiration_hours is None:
            return None
        given = preflight.retention_of(None, execution.pipeline, request.storage_expiration_hours, None,
                                       self.conf)
        return given.hours, given.source

    # -- wait and measure -----------------------------------------------------------------------

    def wait(
        self, execution: Execution, timeout: float | None = None, say: Callable[[str], None] = lambda _: None
    ) -> Execution:
        """Wait until the attempt has ended and its work dir is settled. `say`: see `Patience`.

        Raises Conflict after `timeout` seconds (None: no limit).
        """
        patience = Patience(say, execution.id)
        end = None if timeout is None else time.monotonic() + timeout
        begun = asked = time.monotonic()
        while True:
            question = self.current
            if time.monotonic() - asked > self.conf.lease_seconds / 2:
                asked, question = time.monotonic(), self.settle_if_lost
            with patience.waiting():
                execution = question(execution)
            settled = execution.work_dir.state in (WorkDirState.RETAINED, WorkDirState.DELETED)
            if not execution.state.live and (settled or execution.work_dir.blocked):
                return execution
            if end is not None and time.monotonic() > end:
                raise Conflict(f"{execution.id} is still {execution.state} after {timeout:g} s",
                               "wait longer, or `nfresume show` it")
            time.sleep(0.02 if time.monotonic() - begun < _EAGER_SECONDS else 1.5)

    def measure(
        self, execution: Execution, stop: threading.Event | None = None,
        progress: Callable[[Size], None] = lambda _: None,
    ) -> Measured:
        """Measure a work dir now and store its size. Raises Expired when it is DELETING or DELETED."""
        if execution.work_dir.state in (WorkDirState.DELETING, WorkDirState.DELETED):
            raise Expired(f"the work dir of {execution.id} is {execution.work_dir.state}",
                          f"`nfresume show {execution.id}` tells when and why")
        found, rows = disposal.record_size(self.store, self.conf, execution, stop, progress)
        return Measured(found.total, rows, found.scanned, found.partial)

    # -- change ---------------------------------------------------------------------------------

    def cancel(self, execution: Execution) -> Execution:
        """Cancel a queued or running attempt. Returns at once: the supervisor stops it. Raises Conflict."""
        cancelling.cancel(self.store, self.conf, execution, self._actor)
        return self.get(execution.id)

    def extend(self, execution: Execution, hours: object) -> Execution:
        """Keep a retained work dir for `hours` from now. Raises UsageError, Conflict or Expired."""
        try:
            checked = retention.check_hours(hours, "hours")
        except ValueError as e:
            raise UsageError(str(e), "for example `nfresume extend ID 48`") from None
        if checked == 0:
            raise UsageError("0 hours would delete the work dir", f"`nfresume delete {execution.id}`")
        with self.store.begin() as tx:
            until = tx.now + timedelta(hours=checked)
            keeping.extend(tx, execution.id, until, self._actor, self._notice_at(tx, until))
        return self.get(execution.id)

    def _notice_at(self, tx: Tx, expires_at: datetime | None) -> datetime | None:
        return retention.notice_at(tx.now, expires_at, self.conf.notify_before_expiry)

    def pin(self, execution: Execution) -> Execution:
        """Keep the work dir until it is unpinned, also after a success."""
        with self.store.begin() as tx:
            keeping.pin(tx, execution.id, self._actor)
        return self.get(execution.id)

    def unpin(self, execution: Execution) -> Execution:
        """Let a pinned work dir expire: a full storage_expiration_hours from now, at least one hour.

        Raises Conflict when it is not pinned.
        """
        with self.store.begin() as tx:
            hours = max(1.0, execution.storage_expiration_hours)
            current = queries.get(tx, execution.id).work_dir
            expires = tx.now + timedelta(hours=hours) if current.state is WorkDirState.RETAINED else None
            keeping.unpin(tx, execution.id, expires, self._actor, self._notice_at(tx, expires))
        return self.get(execution.id)

    def delete(
        self, execution: Execution, *, lose_results: bool = False,
        progress: Callable[[RemovalProgress], None] = lambda _: None, stop: threading.Event | None = None,
    ) -> Execution:
        """Delete a retained work dir now; when `stop` is set the removal pauses and stays DELETING.

        Raises ResultsAtRisk when published results exist only in it, RemovalBlocked when something cannot be
        removed, RootUnusable when the root is not there, or the folder another user's.
        """
        if (others := places.of_others(places.folder_of(self.store, execution).path)) is not None:
            raise RootUnusable(others, "let that user, or root, delete it; nothing was touched")
        if execution.work_dir.state is WorkDirState.DELETING:
            claim = deletion.take(self.store, execution)
        else:
            claim = self._start_deletion(execution)
        if claim is None:  # another process is at it
            return self.get(execution.id)
        done = deletion.delete(self.store, claim, self._actor, disposal.pace_of(self.conf, stop),
                               progress=progress, lose_results=lose_results)
        if done.held is not None and done.held.in_use:
            raise Conflict(f"{execution.id}: {done.held.reason}", "wait for their end, or end them")
        if done.held is not None:
            raise ResultsAtRisk(f"{execution.id}: {done.held.reason}",
                                "save them first, or add --lose-results to delete them too")
        if done.removed.blocked:
            raise RemovalBlocked(f"{execution.id}: {deletion.describe_blocked(done.removed)}",
                                 "everything else was removed; sweeps try again, less and less often")
        return self.get(execution.id)

    def _start_deletion(self, execution: Execution) -> Claim:
        with self.store.begin() as tx:
            return removals.delete(tx, execution.id, execution.attempt, f"deleted by {self._actor}",
                                   self._actor, deletion.claimant())

    def settle(self, execution: Execution) -> Execution:
        """Settle a lost attempt whose host, the caller says, will never come back. Raises Conflict."""
        from nfresume.runs import lost

        lost.settle_by_hand(self.store, self.conf, execution, self._actor)
        return self.get(execution.id)

    def prune_cache(self, *, dry_run: bool = False) -> list[Pruned]:
        """Remove from the account's task cache what is too old or over the limit of the settings.

        Returns what was removed, or in a dry run what would be. Raises Conflict while the clock may be ahead.
        """
        from nfresume.retained import task_caches

        found = task_caches.prunable(self.store, self.conf, self.cache_entries())
        if not dry_run:
            self._remove_entries([pruned.entry for pruned in found])
        return found

    def clear_cache(self, task: str | None = None) -> int:
        """Remove all entries of the account's task cache, or those of one task. Returns how many."""
        return self._remove_entries(self.cache_entries(task))

    def _remove_entries(self, entries: list[Entry]) -> int:
        from nfresume.retained import task_caches

        cache, root = self.task_cache(), Root.open(self.conf.root)
        try:
            removed = task_caches.remove(root, cache, entries, self.conf)
        except OSError as e:
            raise RemovalBlocked(f"the task cache {cache.path} cannot be changed: {e.strerror or e}",
                                 "it must be a folder of yours, not a link") from None
        if removed:
            task_caches.sample(self.store, root, cache, cache.entries())
        return removed

    def mark_for_deletion(self, execution: Execution) -> Execution:
        """RETAINED -> DELETING; a sweep secures the results and removes the bytes. Raises Conflict."""
        claim = self._start_deletion(execution)
        with self.store.begin() as tx:
            removals.give_up(tx, claim)
        return self.get(execution.id)
