"""What may be launched from the web: the pipelines of `web_pipelines`, with data and no code beside them.

A pipeline can run everything that the operating system user of `nfresume serve` can. So a site lists its
pipelines. With `web_pipelines = "any"` it says that its editors may run any code, and only the checks of
spelling and of URLs are left.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from nfresume.domain.errors import UsageError
from nfresume.domain.executions import python_workflow
from nfresume.service import hosts
from nfresume.settings import ANY_PIPELINE, Settings, config_file
from nfresume.system import acting

#: What no pipeline's name has: control characters, and halves of characters that stand for no byte.
_NO_NAME = re.compile(r"[\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")
_OWNER_REPO = re.compile(r"(?!\.)[A-Za-z0-9_.-]+/(?!\.)[A-Za-z0-9_.-]+")
_URL_PATH = re.compile(r"/[A-Za-z0-9_./~+-]+")
_REVISION = r"[\w./*?\[\]-]+"
#: A pattern of `web_pipelines` with a revision: `owner/repo@3.14.0`, `https://host/owner/repo@v*`.
_WITH_REVISION = re.compile(rf"(?P<name>(?:\w+://[^/]+/)?[^@:]+)@(?P<revision>{_REVISION})")
_FILE = re.compile(r"^file:(//[^/]*)?", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?\[{]")
#: What Nextflow replaces in a params file: the launch dir, and the folder of the pipeline.
_LAUNCH, _PROJECT = "${launchDir}", re.compile(r"\$\{(projectDir|baseDir)\}")
#: What stands between the paths of a list in one parameter.
_BETWEEN = re.compile(r"[\s,;|:='\"{}()<>\[\]]+")
_MAX_PATHS = 1000
_MAX_FOLDERS = 10_000
#: One in a hundred files of 50 MB of random bytes has a word of this length with a wildcard below the root.
_BY_CHANCE = 13
_WORD_IN_BYTES = re.compile(rb"[^\s\"'<>,;|=]{1,4096}")
#: A word with alternatives, such as `/data/{a,b}/x`.
_CHOICE_IN_BYTES = re.compile(rb"(?<![^\s\"'<>,;|=])/[^\s\"'<>,;|={]{0,1000}\{[^\s\"'<>{}]{1,1000}\}"
                              rb"[^\s\"'<>,;|=]{0,1000}")
_BRACKETS = re.compile(r"[\[\](){}]|:(?!//)")
_CHOICE = re.compile(r"\{[^{}]*\}")
#: What `..` at the beginning of a relative path takes away.
_UP = re.compile(r"(?:\.\.?(?:/+|$))*")
#: Folders from which Nextflow, or a pipeline in them, takes code.
_CODE_FOLDERS = frozenset({"bin", "lib", "modules", "subworkflows", "workflows", "conf", "templates",
                           "plugins", "latch_metadata"})
_CODE = frozenset({".nf", ".config", ".groovy", ".gvy", ".gradle", ".jar", ".class", ".py", ".pyc", ".pyi",
                   ".pth", ".sh", ".bash", ".r", ".rmd", ".qmd", ".ipynb", ".jl", ".lua", ".pl", ".pm", ".rb",
                   ".js", ".so"})
#: Parameters that name configuration, which is code: nf-core pipelines include what they name. In the
#: spelling of `_plain`.
_CONFIG_PARAMS = frozenset({"customconfigbase", "customconfigversion", "configbase", "nfcoreconfigbase"})


def is_open(conf: Settings) -> bool:
    """True for a site that lets its editors run any pipeline."""
    return ANY_PIPELINE in conf.web_pipelines


def from_web(conf: Settings, launch_dir: Path) -> bool:
    """True for a launch dir that a launch from the web got."""
    return _inside(_real(launch_dir), _real(conf.web_launches))


def resolve(conf: Settings, pipeline: str, revision: str | None, *, for_form: bool = False) -> str:
    """The pipeline as it is passed on: a path without links and `..`, or a repository.

    Raises UsageError for one that is malformed or not in `web_pipelines`. Looks at no network. A form
    (`for_form`) is shown before its user has chosen a revision.
    """
    if not pipeline or pipeline.startswith("-") or _NO_NAME.search(pipeline):
        raise UsageError(f"{pipeline!r} is not a pipeline",
                         "a pipeline is a path, owner/repo, or a URL of a Git repository")
    if is_open(conf):
        return pipeline
    split = python_workflow(pipeline)
    file, function = split or (pipeline, "")
    if file.startswith("/"):
        path = _real(Path(file))
        resolved = f"{path}:{function}" if split else str(path)
        inside = _inside(path, _real(conf.web_launches)) or _inside(path, _real(conf.root))
        if not inside and any(fnmatch.fnmatchcase(resolved, _real_pattern(p)) for p in conf.web_pipelines):
            return resolved
    elif not split and any(_allows(pattern, name, revision, for_form) for name in _names(pipeline)
                           for pattern in conf.web_pipelines):
        return pipeline
    raise _not_allowed(conf, pipeline, revision)


def _not_allowed(conf: Settings, pipeline: str, revision: str | None) -> UsageError:
    if not conf.web_pipelines:
        return UsageError("this site allows no launches from the web",
                          "web_pipelines in its settings lists the pipelines that may be launched")
    what = f"pipeline {pipeline}" + (f" at revision {revision}" if revision else "")
    return UsageError(f"{what} is not allowed here", f"allowed are {', '.join(conf.web_pipelines)}")


def _names(pipeline: str) -> list[str]:
    """The names under which a repository may be listed; none for anything else."""
    if _OWNER_REPO.fullmatch(pipeline):
        return [pipeline.removesuffix(".git")]
    try:
        url = urlsplit(pipeline)
        _ = url.port
    except ValueError:
        return []
    plain = url.scheme in ("https", "http", "ssh", "git") and not url.password
    if not plain or url.username not in (None, "git") or url.query or url.fragment:
        return []
    if not _URL_PATH.fullmatch(url.path):
        return []
    parts = url.path.strip("/").removesuffix(".git").split("/")
    if any(part in ("", ".", "..") for part in parts):
        return []
    name = "/".join(parts)
    host = url.netloc.rpartition("@")[2].lower()
    found = [f"{url.scheme}://{host}/{name}"]
    if host == "github.com" and url.scheme == "https" and len(parts) == 2:
        found.append(name)
    return found


def _allows(pattern: str, name: str, revision: str | None, any_revision: bool) -> bool:
    wanted = _WITH_REVISION.fullmatch(pattern)
    if wanted is None:
        return fnmatch.fnmatchcase(name, pattern.removesuffix(".git"))
    if not fnmatch.fnmatchcase(name, wanted["name"].removesuffix(".git")):
        return False
    return any_revision or (revision is not None and fnmatch.fnmatchcase(revision, wanted["revision"]))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _real_pattern(pattern: str) -> str:
    """A pattern of paths with its folders resolved up to the first wildcard."""
    if not pattern.startswith("/"):
        return "\0"  # matches no path
    at = _WILDCARD.search(pattern)
    cut = (at.start() if at else len(pattern))
    folder, _, rest = pattern[:cut].rpartition("/")
    if at is None and not pattern.endswith("/"):
        split = python_workflow(pattern)
        return f"{_real(Path(split[0]))}:{split[1]}" if split else str(_real(Path(pattern)))
    return f"{str(_real(Path(folder or '/'))).rstrip('/')}/{rest}{pattern[cut:]}"


def _inside(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


# -- what stands beside a pipeline -----------------------------------------------------------------


def relative(name: str) -> PurePosixPath:
    """The path of an attachment in its launch dir. Raises UsageError for one that leads out of it."""
    path = PurePosixPath(name)
    bad = not name or path.is_absolute() or ".." in path.parts or any(ord(c) < 32 or c in ":\\" for c in name)
    if bad or not path.parts or path.parts[0].startswith("-") or len(name) > 500:
        raise UsageError(f"{name!r} is not allowed as the name of an attachment",
                         "a relative path such as data/samples.csv is")
    return path


def check_attachment(conf: Settings, pipeline: str, name: str) -> None:
    """Raise UsageError for an attachment that leads out of its folder, or that could be taken for code.

    Nextflow looks for a pipeline, and for configuration, in the launch dir first.
    """
    path = relative(name)
    if is_open(conf):
        return
    folders = {part.lower() for part in path.parts[:-1]}
    hidden = any(part.startswith(".") for part in path.parts)
    code = ({*folders, path.name.lower()} & _CODE_FOLDERS) or ({s.lower() for s in path.suffixes} & _CODE)
    shadows = path.parts[0].lower() == PurePosixPath(pipeline).parts[0].lower()
    if hidden or code or shadows:
        raise UsageError(f"{name!r} is not allowed as an attachment: it could be taken for code",
                         "attach data only; pipelines and configuration belong to the site")


def check_launch_dir(conf: Settings, pipeline: str, launch_dir: Path) -> None:
    """Raise UsageError if the launch dir holds something at the name of a remote pipeline."""
    if not is_open(conf) and not pipeline.startswith("/") and os.path.lexists(launch_dir / pipeline):
        raise UsageError(f"{launch_dir} holds {pipeline}, which would be run instead of the repository",
                         "remove it, or launch anew")


def check_param_values(conf: Settings, params: Mapping[str, object], launch_dir: Path) -> None:
    """Raise UsageError for parameters that name configuration, files of others, or the pipelines' folder.

    Relative paths refer to `launch_dir`. Does nothing on a site that allows any pipeline.
    """
    if is_open(conf):
        return
    for name in params:
        if _plain(name) in _CONFIG_PARAMS:
            raise UsageError(f"parameter {name} is not allowed from the web: it names configuration, "
                             "which is code", "the site's administrator can set it")
    private, homes = private_places(conf), _homes(conf)
    for name, text in _texts(params):
        if _PROJECT.search(text) and (".." in text or _is_output(name)):
            raise UsageError(f"parameter {name} leads out of the pipeline's folder, or writes to it: "
                             f"{text[:200]}", "name a folder of your own")
        for path in _paths_in(text.replace(_LAUNCH, str(launch_dir)), launch_dir, private):
            _check_path(conf, private, homes, name, text, path)


def check_files(conf: Settings, files: Iterable[Path], launch_dir: Path) -> None:
    """Raise UsageError if an attached text, such as a sample sheet, names files that are not the account's.

    Does nothing on a site that allows any pipeline.
    """
    if is_open(conf):
        return
    private, homes, folders = private_places(conf), _homes(conf), dict[str, list[Path]]()
    for file in files:
        for text in _words_of(file):
            folder, slash, name = text.rpartition("/")
            if name in (".", "..") or _WILDCARD.search(text) or _climbs(text):
                folder, name = text, ""
            if slash and folder not in folders:
                places = {*_others(folder, private), *_readings(folder + slash, launch_dir)}
                folders[folder] = [place for place in places if _is_near(place, private, homes)]
                if len(folders) > _MAX_FOLDERS:
                    raise UsageError(f"{file.name} names files in more than {_MAX_FOLDERS:,} folders",
                                     "copy the files to one place first")
            for place in folders[folder] if slash else ():
                if place / name != Path("/"):  # other data often has this by chance
                    _check_path(conf, private, homes, file.name, text, place / name)


def _words_of(file: Path) -> Iterator[str]:
    """The words of a file, and their parts between brackets and colons: `[/a]` is a list in YAML."""
    for pattern in (_WORD_IN_BYTES, _CHOICE_IN_BYTES):
        for word in hosts.matches_in_file(file, pattern, _BY_CHANCE):
            parts = _BRACKETS.split(word) if "/" in word else ()
            yield from {word, *(part for part in parts if "/" in part)}


def _others(text: str, private: Iterable[Path]) -> Iterator[Path]:
    """Private places to which a word may lead as a pattern from `/`, or as the end of a path with a blank."""
    if text.startswith("/") and _WILDCARD.search(text):
        parts = _CHOICE.sub("*", text).strip("/").split("/")
        for place in private:
            names = place.parts[1:]
            if len(parts) > max(2, len(names)) and all(map(fnmatch.fnmatchcase, names, parts)):
                yield place
    if _climbs(text):
        rest = re.split(r"\.\.(?:/+|$)", text)[-1]
        folders = {folder for place in private for folder in (place, *place.parents)} if rest else ()
        yield from (_real(folder / rest) for folder in folders if os.path.lexists(folder / rest))


def _climbs(text: str) -> bool:
    """True for a path that leads above its own beginning, such as `a/../../b` and `/../b`."""
    depth = 0
    for part in _UP.sub("", text, count=1).split("/") if ".." in text else ():
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return True
    return False


def _check_path(
    conf: Settings, private: list[Path], homes: list[Path], name: str, text: str, path: Path
) -> None:
    own = _real(conf.web_launches / conf.account)
    if _is_near(path, private, homes) and not _inside(path, own):
        raise UsageError(f"parameter {name} names a file of nfresume or of another account, a hidden file in "
                         f"the home of the user as whom it runs, or a folder around them: {text[:200]}",
                         "name a file of your own")
    if _is_output(name) and any(
            _inside(path, _literal_folder(p)) for p in conf.web_pipelines if p.startswith("/")):
        raise UsageError(f"parameter {name} names the folder of the pipelines: {text[:200]}",
                         "choose another folder for results")


def _is_output(name: str) -> bool:
    return any(word in _plain(name) for word in ("out", "publish", "result"))


def _is_near(path: Path, private: Iterable[Path], homes: Iterable[Path]) -> bool:
    """True for a path in a private place, and for a folder around one.

    What is hidden in a home is private, too, whether it exists or not: keys, passwords, Nextflow's own
    configuration.
    """
    hidden = any(home in path.parents and path.relative_to(home).parts[0].startswith(".") for home in homes)
    return hidden or any(_inside(path, place) or _inside(place, path) for place in private) or any(
        _inside(home, path) for home in homes)


def _homes(conf: Settings) -> list[Path]:
    """The home of the server's user, and that of the account's user."""
    user = acting.user_of(conf, conf.account)
    return [_real(home) for home in (Path(os.path.expanduser("~")), user and user.home) if home]


def is_private(conf: Settings, path: Path, private: Iterable[Path]) -> bool:
    """True for a path without links that leads into one of `private_places`, and not to the account's own."""
    return any(_inside(path, place) for place in private) and not _inside(
        path, _real(conf.web_launches / conf.account))


def private_places(conf: Settings) -> list[Path]:
    """What no parameter may name: work dirs, launch dirs, settings, secrets, the database, processes."""
    database = re.match(r"sqlite:///(/.*)", conf.database_url)
    places = [conf.root, conf.web_launches, config_file(), Path("/proc")]
    places += [Path(database[1] + end) for end in ("", "-wal", "-shm", "-journal")] if database else []
    return [_real(place) for place in (*places, *([conf.task_secrets] if conf.task_secrets else []))]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _texts(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Each text in a JSON document, with the name of its parameter."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(each, name or str(key))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each, name)
    elif isinstance(value, str):
        yield name, value
        yield from _texts(hosts.inner_json(value), name)


def _paths_in(text: str, launch_dir: Path, private: list[Path]) -> set[Path]:
    """The paths that a text names: as a whole, and as a list."""
    parts = {part for part in _BETWEEN.split(text) if "/" in part and part != "/"}
    if len(parts) >= _MAX_PATHS:
        raise UsageError(f"a parameter names more than {_MAX_PATHS} paths", "put them into a file")
    ends = {path for part in parts for path in _others(part, private)}
    return ends | {path for part in {text.strip(), *parts} for path in _readings(part, launch_dir)}


def _readings(text: str, launch_dir: Path) -> set[Path]:
    """Where a text leads if it is a path, or the folder of its first wildcard, however a program reads it.

    Java takes `..` away before it follows links, the kernel after it. To Nextflow `file:..` and `a[b` are
    names. Python workflows know `~` and `file://..`.
    """
    found: set[Path] = set()
    for plain in {text, _FILE.sub("", text), os.path.expanduser(text.removeprefix("file://"))}:
        if "/" not in plain or "://" in plain or "\0" in plain:
            continue
        literal, *pattern = _WILDCARD.split(plain, maxsplit=1)
        for name in [literal[:literal.rfind("/") + 1], *[plain] * (".." in plain)] if pattern else [plain]:
            path = "/" + os.path.join(_real(launch_dir), name).lstrip("/")  # two slashes are another root
            for each in {path, os.path.normpath(path)}:
                with contextlib.suppress(OSError, ValueError):  # no path
                    found.add(Path(each) if each.startswith("/proc/") else _real(Path(each)))
    return found


def _literal_folder(pattern: str) -> Path:
    real = _real_pattern(pattern)
    return Path(_WILDCARD.split(real, maxsplit=1)[0].rpartition("/")[0] or "/")


def check_urls(pipeline: str) -> None:
    """Raise UsageError if a pipeline's URL names a host that is not public. Resolves its name."""
    hosts.check(pipeline)
