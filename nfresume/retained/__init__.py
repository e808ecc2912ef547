"""The bytes of a work dir: published results materialised, sizes measured, trees slimmed and removed.

May import: pipelines, tasks, launchers, nextflow, storage, store, system, settings, domain.
"""
