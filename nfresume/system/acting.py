"""Act as the operating system user of an account: the setting `run_as`.

A server that runs as root becomes that user in one thread, for a block. Linux keeps the ids of each thread
apart; libc's functions would change those of all threads, so the system calls are made directly. The kernel
then decides what the thread may read, change and signal. A program that it starts is that user for good,
because execve sets the saved id, too.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import pwd
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfresume import home
from nfresume.domain import separation
from nfresume.domain.separation import NoUser
from nfresume.settings import CONFIG_ENV, Settings
from nfresume.system import inherited

#: Numbers of setgroups, setresuid and setresgid.
_CALLS = {"x86_64": (116, 117, 119), "aarch64": (159, 147, 149)}
#: What a program of another user gets of the server's environment, beside NXF_* and LC_*.
_PASSED = ("PATH", "LANG", "TZ", "TERM", "JAVA_HOME", "JAVA_CMD", "SSL_CERT_FILE", "SSL_CERT_DIR",
           "http_proxy", "https_proxy", "no_proxy")
_PR_SET_DUMPABLE = 4
_SECRET = ("NFRESUME_DATABASE_URL", "NFRESUME_OIDC_CLIENT_SECRET", "NFRESUME_NOTIFY")
_libc = ctypes.CDLL(None, use_errno=True)
#: The settings of a server whose threads must act as users.
_enforced: list[Settings] = []


@dataclass(frozen=True)
class OsUser:
    """An operating system user: the name (a number if it has none), ids, and home (None: it has none)."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: Path | None

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})"

    @property
    def ids(self) -> str:
        """The ids as text, for `become`: such as `2001:2001:2001,3000`."""
        return f"{self.uid}:{self.gid}:{','.join(map(str, self.groups))}"


_ROOT = OsUser("root", 0, 0, (0,), None)
#: For accounts without a user: it owns nothing, and the account's own folders are refused to it.
_NOBODY = OsUser("nobody", 65534, 65534, (65534,), None)


def user_of(conf: Settings, account: str) -> OsUser | None:
    """The user of an account; None without the setting `run_as`. Raises NoUser."""
    return _known(separation.user_of(conf.run_as, account)) if conf.run_as else None


@functools.cache
def _known(name: str) -> OsUser:
    try:
        found = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        if not name.isdecimal():
            raise NoUser(f"run_as: there is no user {name}", "name a user of this host") from None
        user = OsUser(name, int(name), int(name), (int(name),), None)
    else:
        groups = tuple(os.getgrouplist(found.pw_name, found.pw_gid))
        home = Path(found.pw_dir)
        there = home.is_dir() and home.stat().st_uid == found.pw_uid
        user = OsUser(found.pw_name, found.pw_uid, found.pw_gid, groups, home if there else None)
    if user.uid == 0 or 0 in (user.gid, *user.groups):
        raise NoUser(f"run_as: {name} is root, or in root's group", "name an ordinary user")
    return user


@contextmanager
def for_account(conf: Settings, account: str) -> Iterator[None]:
    """Act as the user of an account in this thread. Nothing changes without the setting `run_as`.

    Its folders in the root and in `web_launches` are made first. Raises NoUser when this process may not act
    as that user.
    """
    user = user_of(conf, account)
    if user is None or os.geteuid() == user.uid:
        yield
        return
    if os.getresuid()[2] != 0:
        raise NoUser(f"account {account} runs as {user}, and this process may not become that user",
                     "log in as that user, or use the console")
    with as_user(_ROOT):
        _make_folders(conf, account, user)
    with as_user(user):
        yield


@contextmanager
def for_looking(conf: Settings, account: str) -> Iterator[None]:
    """The same for an endpoint: an account without a user sees what the database has, as `nobody`."""
    try:
        user_of(conf, account)
    except NoUser:
        with as_user(_NOBODY):
            yield
        return
    with for_account(conf, account):
        yield


@contextmanager
def as_server() -> Iterator[None]:
    """Be the server's own user again in a block, for what no other user may do."""
    with as_user(_ROOT) if os.geteuid() != 0 and os.getresuid()[2] == 0 else _as_it_is():
        yield


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def as_user(user: OsUser) -> Iterator[None]:
    """Have the ids of a user in this thread, which may be root again afterwards. Raises OSError."""
    before = os.geteuid(), os.getegid(), os.getgroups()
    _set_ids(user.uid, user.gid, user.groups)
    try:
        yield
    finally:
        try:
            _set_ids(*before)
        except OSError:  # no other work may be done with these ids
            os.abort()


def _set_ids(uid: int, gid: int, groups: Sequence[int]) -> None:
    setgroups, setresuid, setresgid = _CALLS[platform.machine()]
    _call(setresuid, -1, 0, -1)
    _call(setgroups, len(groups), (ctypes.c_uint32 * len(groups))(*groups))
    _call(setresgid, gid, gid, 0)
    _call(setresuid, uid, uid, 0)


def _call(number: int, *arguments: Any) -> None:
    if _libc.syscall(ctypes.c_long(number), *(
            ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def supported() -> bool:
    """True where the numbers of the system calls are known."""
    return sys.platform == "linux" and platform.machine() in _CALLS


def become(ids: str) -> None:
    """Turn this process, which is root and has one thread, into a user for good; `ids` as in OsUser.ids.

    From then on no other process of the user can read its memory, its environment and its files: it holds
    the URL of the database.
    """
    uid, gid, groups = ids.split(":")
    if _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    os.setgroups([int(group) for group in groups.split(",")])
    os.setresgid(int(gid), int(gid), int(gid))
    os.setresuid(int(uid), int(uid), int(uid))


def _make_folders(conf: Settings, account: str, user: OsUser) -> None:
    """Make the folders of an account that only root can make. Raises NoUser if one is somebody else's."""
    own = [conf.root / account, conf.web_launches / account, conf.root / ".trash" / f".{user.uid}"]
    try:
        for folder in own if user.home is not None else [*own, _home(conf, user)]:
            if not os.path.lexists(folder):
                os.mkdir(folder, 0o700)
                os.chown(folder, user.uid, user.gid, follow_symlinks=False)
            found = os.lstat(folder)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != user.uid:
                raise NoUser(f"{folder} is not a folder of {user}",
                             f"chown -hR {user.uid}:{user.gid} {folder}")
    except OSError as e:
        raise NoUser(f"the folders of account {account} cannot be made: {e}",
                     f"make {', '.join(map(str, own))} with mode 0700, for {user}") from None


def _home(conf: Settings, user: OsUser) -> Path:
    """The home of a user, beside the launch dirs if the system has none."""
    return user.home or conf.web_launches / f".home-{user.uid}"


def enforce(conf: Settings) -> None:
    """From now on no thread of this process opens an account's folder but as its user, see `require`.

    Nor does one that acts as a user start a program with the server's environment, which holds secrets.
    Nothing changes without the setting `run_as`.
    """
    if conf.run_as and not _enforced:
        _enforced.append(conf)
        sys.addaudithook(_check_environment)


def require(account: str) -> None:
    """Raise RuntimeError, a fault of ours, if this thread must act as the user of an account and does not."""
    if _enforced and (user := user_of(_enforced[0], account)) is not None and os.geteuid() != user.uid:
        raise RuntimeError(f"a folder of account {account} would be opened as uid {os.geteuid()}")


def _check_environment(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook of Python: refuse to start a program of another user with the server's secrets."""
    if event not in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system") or os.geteuid() == 0:
        return
    given = arguments[-1] if event != "os.system" else None
    names = os.environ if given is None else {os.fsdecode(name) for name in given}
    if event == "os.system" or any(name in names for name in _SECRET):
        raise RuntimeError("a program of another user would get the server's environment")


def environment(conf: Settings | None = None, user: OsUser | None = None) -> dict[str, str]:
    """The environment of a program that this thread starts (or `user`, with the settings `conf`).

    A program of another user gets neither the server's settings nor its secrets, and a home of its own.
    """
    conf = conf or (_enforced[0] if _enforced else None)
    if conf is not None and user is None and conf.run_as and os.geteuid() != 0:
        users = [*(_known(entry.user) for entry in conf.run_as), _NOBODY]
        user = next((each for each in users if each.uid == os.geteuid()), None)
    if conf is None or user is None:
        return inherited.environment()
    passed = {name: value for name, value in inherited.environment().items()
              if name in _PASSED or name.startswith(("NXF_", "LC_"))}
    return {**passed, "HOME": str(_home(conf, user)), "USER": user.name, "LOGNAME": user.name,
            CONFIG_ENV: os.devnull, home.ENGINES: str(home.engines())}
