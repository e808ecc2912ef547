"""The hours of a remote pipeline: read at the settlement, from the revision that ran."""

from __future__ import annotations

from nfresume.domain.errors import NfresumeError
from nfresume.domain.executions import Attempt, Execution
from nfresume.domain.retention import Hold
from nfresume.nextflow import command
from nfresume.pipelines import remote
from nfresume.runs import preflight
from nfresume.storage.root import ExecutionFolder
from nfresume.store import Store, guarded, keeping, queries


def read_declared(
    store: Store, execution: Execution, attempt: Attempt, folder: ExecutionFolder, actor: str
) -> Hold | None:
    """Store the hours that a remote pipeline declares, once Nextflow has pulled it.

    Called before an attempt is settled. Nothing changes when the hours are known already, the pipeline
    declares none, or it was not pulled. Metadata that cannot be loaded is noted in the history; the returned
    hold says why a failure must not be deleted then: nobody knows how long it is to be kept.
    """
    if not execution.storage_expiration_source.startswith(preflight.TO_BE_READ):
        return None
    try:
        found = remote.hours_of(attempt.pipeline, folder.attempt(attempt.number) / command.LOG)
    except NfresumeError as e:
        with store.begin() as tx:
            guarded.note(tx, execution.id, "metadata_unreadable", actor, {"error": e.message})
        return Hold(f"how long it is to be kept cannot be read: {e.message}", passing=False)
    if found is None:
        return None
    with store.begin() as tx:
        current = queries.get(tx, execution.id)
        if current.storage_expiration_source == execution.storage_expiration_source:
            keeping.set_expiration(tx, execution.id, found.hours, found.source, actor)
    return None
