"""The parameters and options of the last attempt, and a relaunch with some of them changed one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nfresume.domain.errors import NfresumeError, NotFound
from nfresume.domain.executions import Execution
from nfresume.domain.wording import sendable
from nfresume.nextflow import kept_inputs, options
from nfresume.pipelines import parameters
from nfresume.pipelines.parameters import Parameter
from nfresume.runs.relaunching import RelaunchRequest
from nfresume.service import boundary, forecasting, submissions
from nfresume.service.forecasting import Planned
from nfresume.service.submissions import Resubmission
from nfresume.service.verbs import Service
from nfresume.system import regular

#: A parameter with a longer text is not shown as a field.
_LONGEST = 20_000


@dataclass(frozen=True)
class Field:
    """A parameter: its text, as a form shows it. `given`: the last attempt was given it.

    `declared`: what the pipeline says of it (`known`), or else a guess from its value. `kind`: the type of
    the value that was given. `word`: it was on the command line.
    """

    name: str
    text: str
    declared: Parameter
    given: bool
    kind: str = ""
    known: bool = True
    word: bool = False

    def value(self, text: str) -> object:
        """The value of the parameter when its text is changed."""
        if self.word and not self.known:
            return parameters.of_word(text)
        return parameters.typed(text, self.declared.type)


@dataclass(frozen=True)
class Last:
    """What the last attempt was given: parameters in its params file (`file`) and as words, and options.

    `found` is the pipeline as Nextflow found it: a path where it was in the launch dir.
    """

    pipeline: str
    found: str
    revision: str
    profiles: str
    file: Mapping[str, Any]
    words: Mapping[str, str]
    fields: tuple[Field, ...]


def last(service: Service, execution: Execution) -> Last:
    """What the last attempt of an execution was given. Raises RootUnusable."""
    attempt = service.details(execution).attempts[-1]
    folder = service.folder(execution).attempt(attempt.number)
    parsed = options.stored(attempt.pipeline, attempt.options)
    file: dict[str, Any] = {}
    for given in kept_inputs.read(folder):
        if given.kept is not None and given.option.endswith("params-file"):
            try:
                file |= kept_inputs.params(regular.content(folder / kept_inputs.FOLDER / given.kept))
            except OSError as error:
                raise NotFound(f"the parameters of attempt {attempt.number} cannot be read: "
                               f"{error}") from None
    words = {o.name[2:]: "true" if o.value is None else o.value
             for o in parsed.after if o.name.startswith("--")}
    found = submissions.as_shown(attempt.pipeline, Path(execution.launch_dir))
    return Last(
        attempt.pipeline, found, parsed.value("-r", "-revision") or "", parsed.value("-profile") or "", file,
        words, tuple(_fields(service, found, file, words)))


def _fields(
    service: Service, pipeline: str, file: Mapping[str, Any], words: Mapping[str, str]
) -> list[Field]:
    """The parameters that were given, in their order, and then those that the pipeline declares."""
    try:
        declared = {p.name: p for p in service.declared_params(pipeline)}
    except NfresumeError:
        declared = {}  # the form works without
    texts = {name: as_text(value) for name, value in file.items()} | dict(words)
    values = {**file, **{name: parameters.of_word(text) for name, text in words.items()}}
    kinds = {name: parameters.kind_of(value) for name, value in values.items()}
    found = [Field(name, text, declared.get(name) or Parameter(name, kinds[name]), True, kinds[name],
                   name in declared, name in words)
             for name, text in texts.items() if len(text) <= _LONGEST]
    return found + [Field(name, "", p, False) for name, p in declared.items() if name not in texts]


def as_text(value: object) -> str:
    """A value of a parameter as a form shows it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shown(text: str) -> str:
    """A text as a page shows it, and its form sends it back."""
    return sendable(text.replace("\r\n", "\n"))


@dataclass(frozen=True)
class Amended:
    """A relaunch with changes, and which parameters change: name, old text, new text; None: not given."""

    resubmission: Resubmission
    changes: tuple[tuple[str, str | None, str | None], ...]


def amend(before: Last, texts: Mapping[str, str], more: Mapping[str, Any], base: Resubmission) -> Amended:
    """The relaunch that a form asks for. `texts` are the fields of parameters, `more` are further ones.

    A field that was emptied takes its parameter away. What was on the command line and is changed moves into
    the params file, because the command line would win.
    """
    params, without = dict(before.file), set()
    changes: list[tuple[str, str | None, str | None]] = []
    for field in before.fields:
        text = texts.get(field.name, shown(field.text)).replace("\r\n", "\n")
        if text == shown(field.text):
            continue
        changes.append((field.name, field.text if field.given else None, text or None))
        without.add(field.name)
        params.pop(field.name, None)
        if text:
            params[field.name] = field.value(text)
    for name, value in more.items():
        old = before.words.get(name, before.file.get(name))
        if old is None or as_text(old) != as_text(value):
            changes.append((name, None if old is None else as_text(old), as_text(value)))
            without.add(name)
            params[name] = value
    if not changes:
        return Amended(base, ())
    gone = tuple(f"--{name}" for name in before.words if name in without)
    return Amended(replace(base, params=params, without=gone), tuple(changes))


def problems(before: Last, texts: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with the fields that were changed, by name, as far as the pipeline declares them."""
    found = {}
    for field in before.fields:
        text = texts.get(field.name, "")
        if text and field.known and text != shown(field.text) and (
                problem := parameters.problem(field.declared, text)):
            found[field.name] = problem
    return found


def forecast(service: Service, execution: Execution, amended: Amended) -> Planned:
    """What the relaunch would reuse and run; nothing is written. Raises what `submissions.resubmit` does."""
    wanted = amended.resubmission
    pipeline = submissions.checked_pipeline(service, execution, wanted)
    submissions.check_profiles(service.conf, wanted.profiles)
    if wanted.params is not None:
        submissions.check_params(wanted.params)
        boundary.check_param_values(service.conf, wanted.params, Path(execution.launch_dir))
    planned = forecasting.plan(service, execution, RelaunchRequest(
        words=tuple(submissions.options(wanted.profiles, wanted.revision)), pipeline=pipeline,
        without=wanted.without, from_scratch=wanted.from_scratch, jobs_are_gone=wanted.jobs_are_gone))
    planned.forecast.unless.extend(
        f"parameter {name} ({'not given' if old is None else old} -> "
        f"{'not given' if new is None else new}) concerns them" for name, old, new in amended.changes)
    return planned
