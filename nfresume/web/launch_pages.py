"""The launch form: a pipeline, its parameters as fields, files, and a former run to start from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from nfresume.domain.errors import NfresumeError
from nfresume.domain.people import Role
from nfresume.domain.workdirs import OnSuccess, Retain
from nfresume.nextflow import assets
from nfresume.pipelines import parameters
from nfresume.pipelines.parameters import Parameter
from nfresume.service import amending, boundary, submissions
from nfresume.service.submissions import Submission
from nfresume.service.verbs import Service
from nfresume.store.listing import Filter
from nfresume.web import choosing, run_requests
from nfresume.web.access import Editing, Viewing, Visitor, VisitorOf
from nfresume.web.rendering import page
from nfresume.web.routes import AccountRoute, in_thread
from nfresume.web.sent import Sent

router = APIRouter(route_class=AccountRoute, prefix="/a/{account}", include_in_schema=False)

#: The pipelines of so many of the newest executions are offered.
_NEWEST = 200
#: So many of them are.
_SAVED = 50
#: A longer text is no path.
_LONG = 1000


@router.get("/launch")
def launch_page(
    account: str, request: Request, who: VisitorOf, service: Viewing,
    pipeline: Annotated[str, Query(max_length=2000)] = "",
    former: Annotated[str, Query(max_length=100)] = "",
) -> HTMLResponse:
    """The form. `former`: the execution whose pipeline, options and parameters are filled in."""
    sent = Sent({"pipeline": pipeline})
    if former and who.user.roles[account].includes(Role.EDITOR):
        sent.texts |= _of_former(service, former)
    return _form(request, who, service, sent)


def _of_former(service: Service, former: str) -> dict[str, str]:
    """The texts of a form that launches what an execution of the account was. Raises NotFound."""
    e = service.get(former)
    try:
        last = amending.last(service, e)
    except OSError:
        return {}
    fields = [each for each in last.fields if each.given and _fits(each)]
    rest = {**last.file, **{name: parameters.of_word(text) for name, text in last.words.items()}}
    for each in fields:
        del rest[each.name]
    return {"pipeline": last.found, "revision": last.revision, "profiles": last.profiles, "former": former,
            "params": json.dumps(rest, ensure_ascii=False, default=str) if rest else "",
            **{f"param.{each.name}": _path(each.text, Path(e.launch_dir)) for each in fields},
            **{f"former.{each.name}": each.kind for each in fields}}


def _fits(given: amending.Field) -> bool:
    """True unless the field of a form would send another value: an empty one means the default."""
    return given.text != "" and given.kind != "null" and amending.shown(given.text) == given.text


def _path(text: str, launch_dir: Path) -> str:
    """A text that names a file of the former launch dir, as a path that holds in a new one too."""
    try:
        return str(launch_dir / text) if len(text) < _LONG and (launch_dir / text).is_file() else text
    except (OSError, ValueError):  # no path
        return text


def _form(request: Request, who: Visitor, service: Service, sent: Sent, status: int = 200) -> HTMLResponse:
    account, conf = service.account, service.conf
    may_edit = who.user.roles[account].includes(Role.EDITOR)
    declared: list[Parameter] = []
    unread = ""
    if sent.get("pipeline") and may_edit:  # nothing is imported, downloaded or resolved
        try:
            declared = _declared(service, sent.get("pipeline"))
        except NfresumeError as error:
            unread = str(error)
    known = {p.name for p in declared}
    more = [name.removeprefix("param.") for name, text in sent.texts.items()
            if name.startswith("param.") and text and name.removeprefix("param.") not in known]
    return page(
        request, "launch.html", status, user=who.user, account=account, csrf=who.csrf, sent=sent,
        declared=[*declared, *(Parameter(name, sent.get(f"former.{name}") or "string") for name in more)],
        unread=unread, saved=_saved(service), of_copy=bool(declared) and _of_copy(sent),
        closed=not conf.web_pipelines, profiles=conf.web_profiles, may_edit=may_edit,
        may_choose=bool(conf.web_data),
    )


def _of_copy(sent: Sent) -> bool:
    """True if the parameters that are shown may be those of another revision than the one that is wanted."""
    return bool(sent.get("revision")) and assets.is_remote(sent.get("pipeline"))


def _declared(service: Service, pipeline: str) -> list[Parameter]:
    return service.declared_params(boundary.resolve(service.conf, pipeline, None, for_form=True))


def _saved(service: Service) -> list[str]:
    """The pipelines that the site lists by name, and those that the account launched last."""
    listed = [] if boundary.is_open(service.conf) else [
        each for each in service.conf.web_pipelines if not set(each) & set("*?[")]
    recent = dict.fromkeys((e.pipeline, e.launch_dir) for e in service.search(Filter(), "newest", _NEWEST, 0))
    found = (submissions.as_shown(pipeline, Path(folder)) for pipeline, folder in list(recent)[:_SAVED])
    return list(dict.fromkeys([*listed, *found]))[:_SAVED]


@router.post("/launch")
async def launch(account: str, request: Request, who: VisitorOf, service: Editing) -> Response:
    """Launch the pipeline of the form, or (`show`) show the fields of its parameters.

    A refusal shows the form again, with all that was typed and the reason beside its field.
    """
    form = await request.form()
    sent, picked = Sent.of(form), form.getlist("pick")

    def answer() -> Response:
        if sent.get("choose"):
            step = choosing.step(sent, _declared_or_none(service, sent), picked)
            title = f"To launch {sent.get('pipeline')}"
            shown = step.answer(request, who, service, f"/a/{account}/launch", title)
            return shown or _form(request, who, service, sent)
        if sent.get("show"):
            return _form(request, who, service, sent)
        try:
            sent.problems = _problems(service, sent)
            if sent.problems:
                return _form(request, who, service, sent, 400)
            files = run_requests.attachments(form, "file")
            files.pop("", None)  # what a browser sends when no file was chosen
            e = submissions.submit(service, _submission(sent.texts, files))
        except NfresumeError as error:
            sent.refuse(error, [name.removeprefix("param.") for name in sent.texts])
            return _form(request, who, service, sent, error.http_status)
        return RedirectResponse(f"/a/{account}/executions/{e.id}", 303)

    return await in_thread(service, answer)


def _declared_or_none(service: Service, sent: Sent) -> list[Parameter]:
    """What the pipeline of a form declares; nothing if that cannot be read, which the launch says."""
    try:
        return _declared(service, sent.get("pipeline").strip())
    except NfresumeError:
        return []


def _problems(service: Service, sent: Sent) -> dict[str, str]:
    """What is wrong with the fields of parameters, by name, as far as the pipeline declares them.

    A required one may be empty where a profile or the JSON may have it: `-profile test` gives the input.
    """
    more = submissions.parse_params(sent.get("params"))
    found = {}
    for p in _declared_or_none(service, sent):
        text = sent.texts.get(f"param.{p.name}")
        if text is None or (not text and (sent.get("profiles").strip() or p.name in more)):
            continue
        if problem := parameters.problem(p, text):
            found[p.name] = problem
    return found


def _value(texts: Mapping[str, str], name: str, text: str) -> object:
    """The value of a parameter: of the type that it had in a former run if it fits, or else as declared."""
    text = text.replace("\r\n", "\n")
    kinds = (texts.get(f"former.{name}", ""), texts.get(f"type.{name}", ""))
    values = (parameters.typed(text, kind) for kind in kinds)
    return next((value for value in values if not isinstance(value, str)), text)


def _submission(texts: Mapping[str, str], files: Mapping[str, BinaryIO]) -> Submission:
    """The submission of a form. A field `param.NAME` is the parameter NAME; empty means the default."""
    params = {name.removeprefix("param."): _value(texts, name.removeprefix("param."), text)
              for name, text in texts.items() if name.startswith("param.") and text != ""}
    params |= submissions.parse_params(texts.get("params", ""))
    return Submission(
        pipeline=texts.get("pipeline", "").strip(), params=params, attachments=files,
        profiles=tuple(texts.get("profiles", "").replace(",", " ").split()),
        revision=texts.get("revision", "").strip() or None,
        storage_expiration_hours=texts.get("hours", "").strip() or None, pinned=bool(texts.get("pin")),
        retain=Retain.LEAN if texts.get("lean") else Retain.SLIM if texts.get("slim") else None,
        on_success=OnSuccess.KEEP if texts.get("keep") else None,
    )
