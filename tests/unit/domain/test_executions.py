"""Names, and the tables of transitions."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfresume.domain import executions as ex
from nfresume.domain import workdirs as wd
from nfresume.domain.errors import UsageError

#: What Nextflow accepts after `-name` (24.10: `^[a-z](?:[a-z\d]|[-_](?=[a-z\d])){0,79}$`).
RUN_NAME = re.compile(r"[a-z](?:[a-z\d]|[-_](?=[a-z\d])){0,79}")


@given(st.text(max_size=200), st.integers(1, 9999))
def test_every_id_makes_a_run_name_that_nextflow_accepts(text, number):
    """Whatever a pipeline is called, Nextflow accepts the run name made from it."""
    name = ex.run_name(f"{ex.id_stem(text)}-{ex.ID_ALPHABET[:6]}", number)
    assert RUN_NAME.fullmatch(name)


@pytest.mark.parametrize(
    ("pipeline", "stem"),
    [("nf-core/rnaseq", "rnaseq"), ("./main.nf", "main"), ("/a/b c/", "b-c"), ("9", "run"),
     ("https://host/x/Y_z.git", "y-z")],
)
def test_id_stem(pipeline, stem):
    """An id starts with the pipeline's own name."""
    assert ex.id_stem(pipeline) == stem


@pytest.mark.parametrize("bad", ["", "-a", ".trash", "a/b", "..", "a\n", "a" * 64, "a b", "é"])
def test_account_names_are_safe_folder_names(bad):
    """A name that is no plain folder name is refused as an account."""
    with pytest.raises(UsageError):
        ex.check_account(bad)


def test_no_way_back_from_deleted():
    """DELETING leads to DELETED, or back by a hold; DELETED leads nowhere."""
    leaving = [t.name for t in wd.TRANSITIONS if wd.WorkDirState.DELETING in t.sources]
    assert leaving == ["hold", "removed"]
    assert not [t for t in wd.TRANSITIONS if wd.WorkDirState.DELETED in t.sources]


def test_only_a_relaunch_leaves_an_ended_state():
    """Only a relaunch leaves SUCCEEDED, FAILED or CANCELLED."""
    assert {t.name for t in ex.TRANSITIONS if t.sources - ex.LIVE} == {"relaunch"}
