"""Which folders a script names."""

from __future__ import annotations

import pytest

from nfresume.retained.scripted import named_in


@pytest.mark.parametrize(("script", "named"), [
    ("ln -s $PWD/a /data/r/a.txt", {"/data/r", "/data/r/a.txt"}),
    ("ln -st '/data/my results' a", {"/data", "/data/my results"}),
    ('ln -s a "/data/my results/$id.txt"', {"/data/my results", "/data"}),
    ("cp a --to=/data/b; (cd /x/y)", {"/data", "/data/b", "/x", "/x/y"}),
    ("ln -s a //data//b/../c", {"/data", "/data/c"}),
    ("curl https://host/path; echo ${d}/z $d/z ../z a/z ~/z", set()),
    ("echo / // /.. 'it is/that'", set()),
    ("", set()),
])
def test_folders_that_a_script_names(script: str, named: set[str]):
    assert named_in(script) == named
