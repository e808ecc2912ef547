"""Split the words after `nfresume launch` as Nextflow does, and take out the options that nfresume owns.

Source of the rules: `nextflow run -h` and `nextflow -h` of 24.10, and tests with it: a single-dash option
takes the next word as its value; `--param` takes it unless the word starts with `-` and is not a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nfresume.domain.errors import UsageError

#: Options of `nextflow` itself (before the word `run`) and whether they take a value.
GLOBAL = {"-C": True, "-D": True, "-config-ignore-includes": False, "-q": False, "-quiet": False,
          "-remote-debug": False, "-syslog": True, "-trace": True}
#: Options of `nextflow run` without a value; any other single-dash option takes one ...
FLAGS = frozenset({"-E", "-disable-jobs-cancellation", "-h", "-help", "-latest", "-offline", "-preview",
                   "-stub-run", "-stub", "-without-docker", "-without-podman", "-without-conda",
                   "-without-spack", "-dump-channels", "-dump-hashes"})
#: ... and these take one only if the next word does not start with `-`.
OPTIONAL_VALUE = frozenset({
    "-resume", "-with-trace", "-with-report", "-with-timeline", "-with-dag", "-with-docker",
    "-with-podman", "-with-singularity", "-with-apptainer", "-with-charliecloud", "-with-conda",
    "-with-spack", "-with-weblog", "-with-tower", "-with-cloudcache", "-with-notification", "-N",
    "-with-wave", "-with-fusion", "-ansi-log", "-cache", "-syslog",
})
#: Those of OPTIONAL_VALUE that name a report, which Nextflow refuses to overwrite.
REPORTS = frozenset({"-with-report", "-with-timeline", "-with-dag", "-with-trace"})

_NUMBER = re.compile(r"-\d+(\.\d+)?([eE][-+]?\d+)?|-")
_REMOTE = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+|(https?|git|ssh|file)://\S+|git@\S+:\S+")


@dataclass(frozen=True)
class Option:
    """One option with its value (None = no value); `words` gives it as command-line words."""

    name: str
    value: str | None = None
    joined: bool = False  # --name=value

    @property
    def words(self) -> list[str]:
        if self.value is None:
            return [self.name]
        return [f"{self.name}={self.value}"] if self.joined else [self.name, self.value]


@dataclass(frozen=True)
class RunOptions:
    """A parsed `nextflow run` command line, without what nfresume owns.

    `before` goes before the word `run`, `after` after the pipeline, both in the user's order. `extra` are
    further positional words.
    """

    pipeline: str | None
    before: tuple[Option, ...] = ()
    after: tuple[Option, ...] = ()
    resume: str | None = None  # "" = -resume without a value
    name: str | None = None
    log: str | None = None
    background: bool = False
    extra: tuple[str, ...] = field(default=())

    @property
    def words(self) -> tuple[str, ...]:
        """The user's options as words, to be stored and parsed again for a relaunch."""
        own: list[Option] = []
        if self.log is not None:
            own.append(Option("-log", self.log))
        options = (*self.before, *self.after, *own)
        return (*(word for option in options for word in option.words), *self.extra)

    def value(self, *names: str) -> str | None:
        """The last value given for any of these option names."""
        values = [o.value for o in (*self.before, *self.after) if o.name in names]
        return values[-1] if values else None


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


def parse(words: Sequence[str]) -> RunOptions:
    """Parse the words of a launch. Raises UsageError, which names the wrong word."""
    check_words(words)
    parser = _Parser(list(words))
    while parser.words:
        parser.step()
    return parser.result()


def without_resume(words: Sequence[str]) -> tuple[str, ...]:
    """The same words without -resume and its value."""
    kept: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word.partition("=")[0] != "-resume":
            kept.append(word)
        elif word == "-resume" and waiting and _looks_like_session(waiting[0]):
            waiting.pop(0)
    return tuple(kept)


def absolute(words: Sequence[str], here: Path, launch_dir: Path) -> tuple[str, ...]:
    """Make file options absolute that were given in another folder (`here`) than the launch dir."""
    if here == launch_dir:
        return tuple(words)
    made = list(words)
    for at, word in enumerate(made[1:], 1):
        if made[at - 1] in ("-params-file", "-c", "-config", "-C") and (here / word).exists():
            made[at] = str(here / word)
    return tuple(made)


def is_remote(pipeline: str) -> bool:
    """True for a pipeline that Nextflow would download: `owner/repo` or a URL."""
    return bool(_REMOTE.fullmatch(pipeline))


class _Parser:
    def __init__(self, words: list[str]) -> None:
        self.words = words
        self._pipeline: str | None = None
        self._before: list[Option] = []
        self._after: list[Option] = []
        self._own: dict[str, str] = {}
        self._background = False
        self._extra: list[str] = []

    def step(self) -> None:
        word = self.words.pop(0)
        if word.startswith("--"):
            self._after.append(self._parameter(word))
        elif word.startswith("-") and word != "-":
            self._single_dash(word)
        elif self._pipeline is None:
            if word == "-":
                raise UsageError("a pipeline from standard input is not supported", "save it to a file")
            self._pipeline = word
        else:
            self._extra.append(word)

    def _parameter(self, word: str) -> Option:
        name, equals, value = word.partition("=")
        if len(name) < 3:
            raise UsageError(f"{word!r} is not an option", "`nextflow run -h` lists them")
        if equals:
            return Option(name, value, joined=True)
        if self.words and (not self.words[0].startswith("-") or _NUMBER.fullmatch(self.words[0])):
            return Option(name, self.words.pop(0))
        return Option(name)

    def _single_dash(self, word: str) -> None:
        name, equals, value = word.partition("=")
        if name.startswith(("-process.", "-e.", "-executor.", "-cluster.")):
            self._after.append(Option(word))
        elif name in ("-resume", "-name", "-log"):
            self._own[name] = value if equals else self._value(name) or ""
        elif name == "-bg":
            self._background = True
        elif name in ("-w", "-work-dir"):
            raise UsageError(
                f"{name} belongs to nfresume: the work dir lies under its root",
                "choose the root with --root or NFRESUME_ROOT",
            )
        elif name in ("-h", "-help"):
            raise UsageError("-help is Nextflow's option",
                             "`nfresume launch --help`, or `nextflow run -help`")
        elif name in ("-v", "-version"):
            raise UsageError(f"{name} is no option of a launch", "`nfresume engine info` shows the version")
        elif name == "-ansi-log":
            self._value(name)  # ignored: nfresume shows the progress itself
        elif name in GLOBAL:
            self._before.append(Option(name, self._value(name) if GLOBAL[name] else None))
        elif equals:
            self._after.append(Option(name, value, joined=True))
        else:
            self._after.append(Option(name, self._value(name)))

    def _value(self, name: str) -> str | None:
        if name in FLAGS:
            return None
        if not self.words or (self.words[0].startswith("-") and name in OPTIONAL_VALUE):
            if name in OPTIONAL_VALUE:
                return None
            raise UsageError(f"{name} needs a value", "`nextflow run -h` says which")
        if name == "-resume" and not _looks_like_session(self.words[0]):
            return None  # `-resume main.nf` is -resume without a value, then the pipeline
        return self.words.pop(0)

    def result(self) -> RunOptions:
        own = self._own
        return RunOptions(
            pipeline=self._pipeline, before=tuple(self._before), after=tuple(self._after),
            resume=own.get("-resume"), name=own.get("-name") or None, log=own.get("-log") or None,
            background=self._background, extra=tuple(self._extra),
        )


def _looks_like_session(word: str) -> bool:
    """True for a value of -resume: `last`, a session UUID or the start of one, or a run name of nfresume."""
    return bool(re.fullmatch(r"last|[0-9a-f]{4,}(-[0-9a-f]*)*|[a-z][a-z0-9-]*-[a-z0-9]{6}(-\d+)?", word))


def merge(before: RunOptions, override: RunOptions) -> RunOptions:
    """The options of a relaunch: those of the last attempt, replaced by the ones in `override`."""

    def merged(old: tuple[Option, ...], new: tuple[Option, ...]) -> tuple[Option, ...]:
        names = {_canonical(o.name) for o in new}
        return (*(o for o in old if _canonical(o.name) not in names), *new)

    return RunOptions(
        pipeline=override.pipeline or before.pipeline,
        before=merged(before.before, override.before),
        after=merged(before.after, override.after),
        log=override.log or before.log,
        background=override.background,
        extra=override.extra or before.extra,
    )


def _canonical(name: str) -> str:
    return {"-revision": "-r", "-config": "-c", "-output-dir": "-o", "-queue-size": "-qs",
            "-quiet": "-q", "-stub": "-stub-run", "-with-notification": "-N"}.get(name, name)
