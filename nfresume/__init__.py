"""nfresume runs Nextflow pipelines and owns their scratch space."""

__version__ = "0.1.0"
