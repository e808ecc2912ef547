"""What an attempt was given, as it is kept."""

from __future__ import annotations

from pathlib import Path

from nfresume.nextflow import options
from nfresume.runs import inputs

CONFIG = """\
includeConfig 'more/b.config'
includeConfig("c.config")
includeConfig '/whole/d.config'
includeConfig 'https://example.org/e.config'
includeConfig "${params.base}/f.config"
params.text = 'see includeConfig'  // 'b.config'
profiles { x { includeConfig "../g.config" } }
"""
KEPT = """\
includeConfig '/HERE/more/b.config'
includeConfig("/HERE/c.config")
includeConfig '/whole/d.config'
includeConfig 'https://example.org/e.config'
includeConfig "${params.base}/f.config"
params.text = 'see includeConfig'  // 'b.config'
profiles { x { includeConfig "/HERE/../g.config" } }
"""


def test_includes_of_a_kept_configuration(tmp_path: Path):
    """Relative includes are kept as whole paths; what else is in the file stays as it is."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/a.config").write_text(CONFIG)
    taken = inputs.take(options.parse(["main.nf", "-c", "conf/a.config"]), tmp_path)
    assert taken.named("-c") == KEPT.replace("/HERE", str(tmp_path / "conf")).encode()
    assert inputs._difference(taken.inputs[0], tmp_path) is None  # the digest is that of the file
