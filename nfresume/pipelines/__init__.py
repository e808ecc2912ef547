"""What a pipeline declares: its metadata and its parameters.

May import: tasks, nextflow, system, settings, domain.
"""
