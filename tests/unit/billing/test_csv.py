"""Costs as CSV, which a spreadsheet opens."""

from __future__ import annotations

import csv
import io

import pytest

from nfresume.billing import as_json
from nfresume.billing.report import By, Line
from nfresume.domain.costs import Usage


@pytest.mark.parametrize(("key", "cell"), [
    ("main.nf", "main.nf"), ("a=b", "a=b"), ("", ""), ("-x.nf", "'-x.nf"), ("@SUM(1)", "'@SUM(1)"),
    ("=HYPERLINK(\"http://x/\", \"pay\")", "'=HYPERLINK(\"http://x/\", \"pay\")"),
])
def test_no_name_is_a_formula(key: str, cell: str):
    """Somebody else chose the name of a pipeline or a process."""
    text = as_json.csv(By.PIPELINE, [Line(key, Usage(), 0)], "USD")
    assert next(csv.DictReader(io.StringIO(text)))["pipeline"] == cell
