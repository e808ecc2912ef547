"""Nextflow: find or install it, build its command line, run it under the shim, read its log and history."""
