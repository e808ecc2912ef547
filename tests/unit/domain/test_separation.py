"""The setting `run_as`: which operating system user runs what belongs to an account."""

from __future__ import annotations

import json

import pytest

from nfresume.domain import separation
from nfresume.domain.separation import NoUser


def test_accounts_have_users():
    """By name or number; `*` stands for every account that is not named."""
    entries = separation.parse({"team": "genomics", "ada": 2001, "*": "guest"})
    assert [str(entry) for entry in entries] == ["team = genomics", "ada = 2001", "* = guest"]
    users = [separation.user_of(entries, name) for name in ("team", "ada", "eve")]
    assert users == ["genomics", "2001", "guest"]
    assert separation.parse(json.dumps({"ada": 2001})) == separation.parse({"ada": 2001})


def test_an_account_without_a_user():
    """It can run nothing: it never falls back to the user of the server."""
    with pytest.raises(NoUser, match="eve has no operating system user"):
        separation.user_of(separation.parse({"ada": 2001}), "eve")


@pytest.mark.parametrize("value", [
    [], "x", "[]", {"ada": None}, {"ada": True}, {"ada": -1}, {"ada": ""}, {"ada": "-u"}, {"ada": "a b"},
    {"../x": "u"}, {".trash": 2001}, {"": 2001}, {"ada": "2001:0"}, {"ada": 2.5},
])
def test_what_is_no_user(value: object):
    """Other values are refused, also those that a program would take for an option."""
    with pytest.raises(ValueError):
        separation.parse(value)
