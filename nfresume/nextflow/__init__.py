"""The engine: find or install Nextflow, build its command line, read what it writes."""
