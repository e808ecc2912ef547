"""What a pipeline declares about itself: its metadata and its parameters.

May import: tasks, nextflow, system, settings, domain.
"""
