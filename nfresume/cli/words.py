"""Which words of a command line are nfresume's, and which go to Nextflow, unchanged and in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand, TyperOption

from nfresume.cli.output import say

#: nfresume's options that are accepted after the pipeline too. Any other `--name` there is a parameter of the
#: pipeline.
ANYWHERE = frozenset({"--storage-expiration-hours", "--detach", "--pin"})


class PassThrough(TyperCommand):
    """A command that passes the words it does not know to Nextflow, unchanged and in order."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ours, theirs = split(args, self.params, positional=1 if self.name == "relaunch" else 0)
        names = {name for param in self.params for name in param.opts}
        for word in theirs:
            if "--" not in args and word.partition("=")[0] in names:
                say(f"note: {word} goes to the pipeline; options of nfresume must come before it")
        return super().parse_args(ctx, [*ours, "--", *theirs])


def split(
    words: Sequence[str], params: Sequence[Any], positional: int
) -> tuple[list[str], list[str]]:
    """Separate nfresume's options from the words for Nextflow; returns (ours, theirs).

    Before the pipeline every `--option` that is in `params` is ours, after it only those in ANYWHERE, and
    after a bare `--` none. The first `positional` words that are not options (the id of a relaunch) stay in
    front of `theirs`.
    """
    from nfresume.nextflow.options import STDIN, first

    flags = {n: isinstance(p, TyperOption) and p.is_flag for p in params for n in p.opts}
    ours: list[str] = []
    theirs: list[str] = []
    rest = list(words)
    after_pipeline = False
    front: list[str] = []
    while rest:
        word = rest[0]
        name, equals, _ = word.partition("=")
        if word == "--":
            theirs += rest[1:]
            break
        if name.startswith("--") and name in flags and (name in ANYWHERE or not after_pipeline):
            taken = 1 if equals or flags[name] else 2
            ours += rest[:taken]
            del rest[:taken]
            continue
        if word in ("-h", "--help") and not after_pipeline:
            ours.append("--help")
            del rest[0]
            continue
        piece = first(rest)
        del rest[:len(piece.words)]
        if piece.name == "" and len(front) < positional:
            front += piece.words
            continue
        theirs += piece.words
        # `relaunch` takes no pipeline: its first parameter ends our options.
        after_pipeline |= piece.name in ("", STDIN, "-stdin") or (positional > 0 and word.startswith("--"))
    return ours, [*front, *theirs]
