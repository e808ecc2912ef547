"""The hours of a remote pipeline: read at the settlement, from the revision that ran."""

from __future__ import annotations

from nfresume.domain.errors import NfresumeError
from nfresume.domain.executions import Attempt, Execution
from nfresume.nextflow import command
from nfresume.pipelines import remote
from nfresume.runs import preflight
from nfresume.storage.root import ExecutionFolder
from nfresume.store import Store, queries, transitions


def read_declared(
    store: Store, execution: Execution, attempt: Attempt, folder: ExecutionFolder, actor: str
) -> Execution:
    """Store the hours that a remote pipeline declares, once Nextflow has pulled it; returns the execution.

    Called before an attempt is settled. Nothing changes when the hours are known already, the pipeline
    declares none, or it was not pulled. Metadata that cannot be loaded is noted in the history; the hours of
    the site then hold.
    """
    if not execution.storage_expiration_source.startswith(preflight.TO_BE_READ):
        return execution
    try:
        found = remote.metadata_of(attempt.pipeline, folder.attempt(attempt.number) / command.LOG)
    except NfresumeError as e:
        with store.begin() as tx:
            transitions.note(tx, execution.id, "metadata_unreadable", actor, {"error": e.message})
        return execution
    if found is None:
        return execution
    with store.begin() as tx:
        current = queries.get(tx, execution.id)
        if current.storage_expiration_source == execution.storage_expiration_source:
            transitions.set_expiration(tx, execution.id, found.hours, found.source, actor)
        return queries.get(tx, execution.id)
