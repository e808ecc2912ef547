"""Which paths a pipeline's code and scripts name."""

from __future__ import annotations

import pytest

from nfresume.retained.scripted import named_in

VARIABLES = {"~": "/home/me", "HOME": "/home/me", "..": "/launch/..", "launchDir": "/launch",
             "projectDir": "/project"}


@pytest.mark.parametrize(("text", "named"), [
    ("ln -s $PWD/a /data/r/a.txt", {"/data/r/a.txt"}),
    ("ln -st '/data/my results' a", {"/data/my results"}),
    ('ln -s a "/data/my results/$id.txt"', {"/data/my results"}),
    ("cp a --to=/data/b; (cd /x/y)", {"/data/b", "/x/y"}),
    ("ln -s a //data//b/../c", {"/data/c"}),
    ('ln -s a ~/b; ln -s a $HOME/c; file("${projectDir}/d"); file("../e"); file("$launchDir/f")',
     {"/home/me/b", "/home/me/c", "/project/d", "/e", "/launch/f"}),
    ("curl https://host/path; echo ${d}/z $d/z ../z a/z x~/z", set()),
    ("echo / // /.. 'it is/that'", set()),
    ("", set()),
])
def test_paths_that_a_text_names(text: str, named: set[str]):
    assert named_in(text, VARIABLES) == named
