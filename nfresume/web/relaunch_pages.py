"""The form of a relaunch: what the last attempt was given, what would be reused, and why tasks ran before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from nfresume.domain import headline
from nfresume.domain.errors import NfresumeError
from nfresume.domain.executions import python_workflow
from nfresume.domain.headline import Reusable
from nfresume.domain.people import Role
from nfresume.domain.workdirs import WorkDirState
from nfresume.nextflow.record import Task
from nfresume.service import amending, explaining, forecasting, submissions
from nfresume.service.amending import Amended, Last
from nfresume.service.forecasting import Planned
from nfresume.service.submissions import Resubmission
from nfresume.service.verbs import Service
from nfresume.web import choosing, frames
from nfresume.web.access import Editing, SiteOf, VisitorOf
from nfresume.web.frames import Frame, FrameOf
from nfresume.web.routes import AccountRoute, in_thread
from nfresume.web.sent import Sent

router = APIRouter(route_class=AccountRoute, prefix="/a/{account}", include_in_schema=False)

#: With more tasks a forecast, which looks at each task dir, is made only when it is asked for.
_AT_ONCE = 300
#: So many causes are on the page of an explanation.
_CAUSES = 100


@router.get("/executions/{execution_id}/relaunch")
def relaunch_page(request: Request, frame: FrameOf) -> HTMLResponse:
    """The form, with what the last attempt was given and, for few tasks, the forecast."""
    return _form(request, frame, Sent(), asked=headline.total(frame.counts) <= _AT_ONCE)


def _form(request: Request, frame: Frame, sent: Sent, *, asked: bool) -> HTMLResponse:
    e = frame.e
    possible = frame.role(Role.EDITOR) and not e.state.live and e.work_dir.state is WorkDirState.RETAINED
    values: dict[str, Any] = {"possible": possible, "sent": sent, "before": None, "forecast": [],
                              "changes": (), "planned": False, "python": False,
                              "may_choose": bool(frame.service.conf.web_data)}
    if possible:
        try:
            before = values["before"] = amending.last(frame.service, e)
            values["python"] = python_workflow(e.pipeline) is not None
            sent.problems = amending.problems(before, _given(sent.texts))
            if asked and not sent.error and not sent.problems and not values["python"]:
                amended = _amended(before, sent.texts)
                values["changes"], values["planned"] = amended.changes, True
                planned = amending.forecast(frame.service, e, amended)
                values["forecast"] = forecasting.lines(planned)
                if not planned.whole:
                    frame.planned = _counted(planned, e.attempt)
        except NfresumeError as error:
            sent.refuse(error, [])
    return frames.show(request, frame, "relaunch.html", "relaunch", **values)


def _counted(planned: Planned, attempt: int) -> Reusable:
    """What a forecast says, for the headline above it."""
    found = planned.forecast
    again, reused = len(found.again), len(found.reused)
    return Reusable(attempt, reused + again, reused + again + len(found.unfinished), again=again,
                    known=not found.unless)


@router.post("/executions/{execution_id}/relaunch")
async def relaunch(
    account: str, execution_id: str, request: Request, site: SiteOf, who: VisitorOf, service: Editing,
) -> Response:
    """Relaunch from the failed task with the changes of the form, or show what that would do.

    A refusal shows the form again, with all that was typed and the reason beside its field.
    """
    form = await request.form()
    sent, picked = Sent.of(form), form.getlist("pick")

    def answer() -> Response:
        if sent.get("choose"):
            return _choose(request, frames.of(account, execution_id, site, who, service), sent, picked)
        if not sent.get("forecast") and _relaunch(service, execution_id, sent):
            return RedirectResponse(f"/a/{account}/executions/{execution_id}", 303)
        frame = frames.of(account, execution_id, site, who, service)
        response = _form(request, frame, sent, asked=bool(sent.get("forecast")))
        response.status_code = 200 if sent.get("forecast") and not sent.error else sent.status
        return response

    return await in_thread(service, answer)


def _choose(request: Request, frame: Frame, sent: Sent, picked: Sequence[object]) -> Response:
    """The page on which a file is chosen for a parameter, or the form with what was chosen."""
    fields = amending.last(frame.service, frame.e).fields
    step = choosing.step(sent, [each.declared for each in fields], picked)
    shown = step.answer(request, frame.who, frame.service, f"{frame.url}/relaunch",
                        f"For the relaunch of {frame.e.id}")
    return shown or _form(request, frame, sent, asked=False)


def _relaunch(service: Service, execution_id: str, sent: Sent) -> bool:
    """Relaunch; False if that was refused. Raises NotFound for an execution that does not exist."""
    e = service.get(execution_id)
    names: list[str] = []
    try:
        before = amending.last(service, e)
        names = [each.name for each in before.fields]
        if amending.problems(before, _given(sent.texts)):
            return False
        submissions.resubmit(service, e, _amended(before, sent.texts).resubmission)
    except NfresumeError as error:
        sent.refuse(error, names)
        return False
    return True


def _given(texts: dict[str, str]) -> dict[str, str]:
    """The texts of the fields of parameters, by name."""
    return {name.removeprefix("param."): text for name, text in texts.items() if name.startswith("param.")}


def _amended(before: Last, texts: dict[str, str]) -> Amended:
    """What a form asks for. Raises UsageError."""
    more = submissions.parse_params(texts.get("params", ""))

    def changed(name: str, old: str) -> str:
        new = texts.get(name, "").strip()
        return "" if new == old else new

    profiles = changed("profiles", before.profiles).replace(",", " ").split()
    return amending.amend(before, _given(texts), more, Resubmission(
        pipeline=changed("pipeline", before.pipeline) or None, profiles=tuple(profiles),
        revision=changed("revision", before.revision) or None,
        storage_expiration_hours=texts.get("hours", "").strip() or None,
        from_scratch=bool(texts.get("from_scratch")), jobs_are_gone=bool(texts.get("jobs_are_gone"))))


@router.get("/executions/{execution_id}/why")
def why(request: Request, frame: FrameOf) -> HTMLResponse:
    """Why the tasks of an attempt ran: a tree of causes."""
    groups: list[explaining.Group] = []
    whole, left_out = "", 0
    links: dict[str, Task] = {}
    if frame.number == 1:
        whole = "nothing had run before"
    elif frame.ended:
        with frames.reading(frame):
            found = frame.service.explain_attempt(frame.e, frame.number)
            groups, whole, left_out = explaining.tree(found), found.whole, found.left_out
            if frame.records is not None:
                with frame.records.tasks() as index:
                    dirs = [group.first.dir for top in groups[:_CAUSES] for group in (top, *top.below())]
                    links = {name: task for name in dirs[:_CAUSES * 5]
                             if name and (task := index.by_dir(name))}
    return frames.show(request, frame, "why.html", "why", groups=groups[:_CAUSES], more=len(groups) - _CAUSES,
                       whole=whole, left_out=left_out, links=links)
