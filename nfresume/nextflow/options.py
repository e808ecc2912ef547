"""Split the words after `nfresume launch` as Nextflow does, and take out the options that nfresume owns.

Source of the rules: Nextflow's sources from 24.04 to 26.08 (`Launcher.normalizeArgs`, the same in all of
them, and the options of `CmdRun` and `CliOptions`). A property test compares the reading with Nextflow's own
launcher. A word that is not nfresume's reaches Nextflow unchanged and in its place: Nextflow judges it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nfresume.domain.errors import UsageError
from nfresume.domain.executions import python_workflow

#: Options of `nextflow` itself, which it takes before the word `run`, and whether they take a value.
GLOBAL = {"-C": True, "-config-ignore-includes": False, "-debug": True, "-q": False, "-quiet": False,
          "-remote-debug": False, "-syslog": True, "-trace": True}
#: Options of `nextflow run` without a value; any other single-dash option takes one ...
FLAGS = frozenset({"-E", "-ansi", "-bg", "-disable-jobs-cancellation", "-h", "-help", "-latest", "-offline",
                   "-preview", "-stdin", "-stub", "-stub-run", "-with-agent-trace", "-with-mpi",
                   "-without-conda", "-without-docker", "-without-spack"})
#: ... and these take one only if the next word does not start with `-`.
OPTIONAL_VALUE = frozenset({
    "-N", "-ansi-log", "-dump-channels", "-dump-hashes", "-syslog", "-test", "-with-apptainer",
    "-with-charliecloud", "-with-cloudcache", "-with-conda", "-with-dag", "-with-docker", "-with-fusion",
    "-with-notification", "-with-podman", "-with-report", "-with-singularity", "-with-spack",
    "-with-timeline", "-with-tower", "-with-trace", "-with-wave", "-with-weblog",
})
#: Those of OPTIONAL_VALUE that name a report, which Nextflow refuses to overwrite.
REPORTS = frozenset({"-with-report", "-with-timeline", "-with-dag", "-with-trace"})
#: Options whose value is a file, which a relaunch from another folder must still find.
FILES = frozenset({"-params-file", "-c", "-config", "-C"})
#: The pipeline is a script on standard input.
STDIN = "-"

_STUB = ("-stub", "-stub-run")
#: A dot in Java's patterns matches none of these.
_LINE = "[^\n\r\u0085\u2028\u2029]"
_PARAMETER = re.compile(f"--[a-zA-Z0-9]{_LINE}*")
#: These take a value as a parameter does; `-e.X=V` and `-DX=V` are always one word.
_SETTING = re.compile(rf"-(process|cluster|executor)\.{_LINE}+")
#: Nextflow splits words that begin so, and would take the first half for a value.
_SPLIT = ("--", "-process.", "-cluster.", "-executor.", "-e.", "-D")
_NUMBER = re.compile(r"[\0-\x20]*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,9})?[\0-\x20]*")
_SESSION = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{8}")


@dataclass(frozen=True)
class Option:
    """One option with its value (None = no value), or a positional word (`name` is empty).

    `words` are the words of the command line, as they were typed.
    """

    name: str
    value: str | None
    words: tuple[str, ...]


@dataclass(frozen=True)
class RunOptions:
    """A parsed `nextflow run` command line, without what nfresume owns.

    `before`: options of `nextflow` itself. `pieces`: the words behind `run`, in the user's order, the
    pipeline among them. `pipeline` is None when there is none, and `-` when it comes from standard input.
    """

    pipeline: str | None
    before: tuple[Option, ...] = ()
    pieces: tuple[Option, ...] = ()
    resume: str | None = None  # "" = -resume without a value
    name: str | None = None
    log: str | None = None
    work_dir: str | None = None
    background: bool = False
    extra: tuple[str, ...] = ()  # further positional words: `args` of the script

    @property
    def after(self) -> tuple[Option, ...]:
        """The options and parameters behind `run`, without positional words."""
        return tuple(piece for piece in self.pieces if piece.name)

    @property
    def words(self) -> tuple[str, ...]:
        """The user's words with the pipeline, to be stored and parsed again for a relaunch."""
        log = ("-log", self.log) if self.log is not None else ()
        return (*_flat(self.before), *log, *_flat(self.pieces))

    def value(self, *names: str) -> str | None:
        """The last value given for any of these option names."""
        values = self.values(*names)
        return values[-1] if values else None

    def values(self, *names: str) -> list[str]:
        """All values given for any of these option names, in order."""
        return [o.value for o in (*self.before, *self.pieces) if o.name in names and o.value is not None]


def _flat(options: Iterable[Option]) -> tuple[str, ...]:
    return tuple(word for option in options for word in option.words)


def check_words(words: Sequence[str]) -> None:
    """Raise UsageError for words with NUL or line breaks, which could forge lines in Nextflow's records, or
    that are too long."""
    for word in words:
        if "\0" in word:
            raise UsageError("an argument contains a NUL character", "remove it")
        if "\n" in word or "\r" in word:
            raise UsageError(
                f"an argument contains a line break: {word[:40]!r}",
                "Nextflow's history cannot hold it; put the value into a file and use -params-file",
            )
        if len(word) > 100_000:
            raise UsageError(f"an argument is {len(word):,} characters long", "use -params-file")


def first(words: Sequence[str]) -> Option:
    """The first option with its value, or the first positional word, of a command line that is not empty."""
    word, rest = words[0], words[1:]
    following = rest[0] if rest else None
    if not word.startswith("-"):
        return Option("", word, (word,))
    if word == STDIN:
        return _option(word, None)
    if _PARAMETER.fullmatch(word) or _SETTING.fullmatch(word):
        name, equals, value = word.partition("=")
        if equals:
            return Option(name, value, (word,))
        return _option(word, following if following is not None and _is_value(following) else None)
    if word.startswith(("--", "-e.", "-D")) and word != "-D":
        name, equals, value = word.partition("=")
        return Option(name, value if equals else None, (word,))
    if word == "-resume":
        return _option(word, following if following is not None and _is_session(following) else None)
    if word in FLAGS or GLOBAL.get(word) is False or following is None:
        return _option(word, None)
    if word in OPTIONAL_VALUE and following.startswith("-"):
        return _option(word, None)
    if following.startswith(_SPLIT) or following in FLAGS | OPTIONAL_VALUE:
        return _option(word, None)
    return _option(word, following)


def _option(name: str, value: str | None) -> Option:
    return Option(name, value, (name,) if value is None else (name, value))


def _is_value(word: str) -> bool:
    """Nextflow's own rule for the word after a parameter, such as `-5`, `-` or `-q 20 -u 3`."""
    return len(word) == 1 or (word != "" and (not word.startswith("-") or " " in word
                                              or _NUMBER.fullmatch(word) is not None))


def _is_session(word: str) -> bool:
    """What Nextflow takes as the value of -resume: `last`, or a session UUID."""
    return not word.startswith("-") and (word == "last" or _SESSION.search(word) is not None)


def scan(words: Sequence[str]) -> Iterator[Option]:
    """All options and positional words of a command line, in order."""
    rest = list(words)
    while rest:
        piece = first(rest)
        del rest[:len(piece.words)]
        yield piece


def parse(words: Sequence[str]) -> RunOptions:
    """Parse the words of a launch. Raises UsageError for words that cannot be passed on."""
    check_words(words)
    reading = _Reading()
    for piece in scan(words):
        reading.take(piece)
    return reading.result()


def stored(pipeline: str, words: Sequence[str]) -> RunOptions:
    """The options of a stored attempt. Attempts of earlier versions were stored without the pipeline."""
    parsed = parse(words)
    return parsed if parsed.pipeline == pipeline else parse([pipeline, *words])


class _Reading:
    def __init__(self) -> None:
        self._before: list[Option] = []
        self._pieces: list[Option] = []
        self._own: dict[str, str] = {}

    def take(self, piece: Option) -> None:
        name = piece.name
        if name in ("-resume", "-name", "-log", "-w", "-work-dir"):
            if piece.value is None and name != "-resume":
                raise UsageError(f"{name} needs a value", "`nextflow run -h` says which")
            self._own[name] = piece.value or ""
        elif name in ("-bg", "-ansi", "-ansi-log"):  # the progress is shown by nfresume
            self._own[name] = ""
        elif name in ("-h", "-help"):
            raise UsageError("-help is Nextflow's option",
                             "`nfresume launch --help`, or `nextflow run -help`")
        elif name in ("-v", "-version", "-self-update"):
            raise UsageError(f"{name} is no option of a launch", "`nfresume engine info` shows the version")
        elif name in GLOBAL or name.startswith("-D"):
            self._check(piece)
            if name == "-syslog" and not piece.value:  # the next word would be taken for its value
                piece = _option(name, "localhost")  # Nextflow's own default
            self._before.append(piece)
        else:
            self._check(piece)
            self._pieces.append(piece)

    def _check(self, piece: Option) -> None:
        """A missing value would take the word that nfresume adds behind it."""
        name = piece.name
        needs = name not in FLAGS | OPTIONAL_VALUE and GLOBAL.get(name) is not False
        single = name.startswith("-") and not name.startswith(("--", "-e.")) and name != STDIN
        if name.startswith("-D") and name != "-D":
            return
        if piece.value is None and single and needs and not _SETTING.fullmatch(name):
            raise UsageError(f"{name} needs a value", "`nextflow run -h` says which; as the value of a "
                             f"parameter it is --PARAMETER={name}")

    def _positional(self) -> Iterator[str]:
        for at, piece in enumerate(self._pieces):
            following = self._pieces[at + 1].words[0] if at + 1 < len(self._pieces) else "-"
            if piece.name == "" and piece.value:  # Nextflow drops empty words
                yield piece.value
            elif piece.name == "-stdin" or (piece.name == STDIN and at == 0):
                yield STDIN
            elif piece.name in _STUB and following.startswith("-"):
                yield "true"  # Nextflow adds this word, and then takes it for a positional one

    def result(self) -> RunOptions:
        self._pieces = list(apart(self._pieces))
        own, positional = self._own, list(self._positional())
        if STDIN in positional:  # it is the pipeline, wherever it stands
            positional = [STDIN, *(word for word in positional if word != STDIN)]
        if positional and python_workflow(positional[0]) is not None:
            self._pieces = list(_with_empty_values(self._pieces))
        return RunOptions(
            pipeline=positional[0] if positional else None, before=tuple(self._before),
            pieces=tuple(self._pieces), resume=own.get("-resume"), name=own.get("-name") or None,
            log=own.get("-log") or None, work_dir=own.get("-w") or own.get("-work-dir") or None,
            background="-bg" in own, extra=tuple(positional[1:]),
        )


def _with_empty_values(pieces: Sequence[Option]) -> Iterator[Option]:
    """The pieces, with an empty word as the value of the parameter before it. For Nextflow it is none."""
    rest = iter([*pieces, Option("", None, ())])
    piece = next(rest)
    for following in rest:
        if piece.name.startswith("--") and piece.value is None and following.words == ("",):
            yield Option(piece.name, "", (f"{piece.name}=",))
            piece = next(rest)
        else:
            yield piece
            piece = following


def apart(pieces: Sequence[Option]) -> tuple[Option, ...]:
    """The pieces in an order in which none takes the next one for its value.

    Where a word between them was taken out, an option without a value moves to the end.
    """
    kept: list[Option] = []
    moved: list[Option] = []
    for piece in reversed(pieces):
        following = kept[-1].words if kept else ()
        if piece.value is None and piece.name and first([*piece.words, *following]).value is not None:
            moved.append(piece)
        else:
            kept.append(piece)
    return (*reversed(kept), *reversed(moved))


def merge(before: RunOptions, override: RunOptions) -> RunOptions:
    """The options of a relaunch: those of the last attempt, replaced by the ones in `override`.

    The pipeline comes first then, further positional words second, and all options behind them.
    """
    pipeline = override.pipeline or before.pipeline
    extra = override.extra or before.extra
    after = _merged(before.after, override.after)
    stub = [o for o in after if o.name in _STUB]  # in front of the pipeline: at the end it would add a word
    named = tuple(_option(o.name, None) for o in stub[-1:])
    places = tuple(Option("", word, (word,)) for word in (pipeline, *extra) if word is not None)
    if pipeline == STDIN:
        named, places = (_option("-stdin", None), *named), places[1:]
    rest = tuple(o for o in after if o.name not in (*_STUB, "-stdin", STDIN))
    return replace(
        before, pipeline=pipeline, before=_merged(before.before, override.before),
        pieces=apart((*named, *places, *rest)), log=override.log or before.log,
        background=override.background, extra=extra, resume=None, name=None, work_dir=None,
    )


def without(parsed: RunOptions, names: Sequence[str]) -> RunOptions:
    """The options without those with these names."""
    gone = {_canonical(name) for name in names}
    kept = tuple(piece for piece in parsed.pieces if not piece.name or _canonical(piece.name) not in gone)
    return replace(parsed, pieces=apart(kept)) if gone else parsed


def _merged(old: tuple[Option, ...], new: tuple[Option, ...]) -> tuple[Option, ...]:
    names = {_canonical(o.name) for o in new}
    return (*(o for o in old if _canonical(o.name) not in names), *new)


_SAME = {"-revision": "-r", "-config": "-c", "-output-dir": "-o", "-queue-size": "-qs", "-quiet": "-q",
         "-stub": "-stub-run", "-with-notification": "-N", "-deep": "-d", "-pool-size": "-ps",
         "-poll-interval": "-pi"}


def _canonical(name: str) -> str:
    """One name for all spellings of an option: `--max-memory` is `--maxMemory`, as in Nextflow."""
    if name.startswith("--"):
        head, *others = name[2:].split("-")
        return "--" + head + "".join(part[:1].upper() + part[1:] for part in others)
    if name.startswith("-without-"):
        return name.replace("-without-", "-with-", 1)
    return _SAME.get(name, name)


def absolute(words: Sequence[str], here: Path, launch_dir: Path) -> tuple[str, ...]:
    """Make file options absolute that were given in another folder (`here`) than the launch dir."""
    if here == launch_dir:
        return tuple(words)
    made: list[str] = []
    for piece in scan(words):
        if piece.name in FILES and piece.value is not None:
            made += [piece.name, ",".join(_absolute(file, here) for file in piece.value.split(","))]
        else:
            made += piece.words
    return tuple(made)


def _absolute(file: str, here: Path) -> str:
    return str(here / file) if (here / file).exists() else file
