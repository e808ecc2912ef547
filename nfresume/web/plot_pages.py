"""The timeline of an attempt, the durations of its tasks, and the graph of its processes."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from nfresume.domain.errors import NfresumeError
from nfresume.runs import task_figures
from nfresume.runs.task_figures import Box, Timeline
from nfresume.web import drawing, frames, graphs
from nfresume.web.frames import Frame, FrameOf
from nfresume.web.routes import AccountRoute

router = APIRouter(route_class=AccountRoute, prefix="/a/{account}", include_in_schema=False)

#: Rows of a process beyond these are drawn over each other.
_ROWS = 40
#: So many attempts tell who used whose files.
_ATTEMPTS = 20
Time = Annotated[int | None, Query(ge=0, le=2**52)]


@router.get("/executions/{execution_id}/timeline")
def timeline(
    request: Request, frame: FrameOf, start: Time = None, end: Time = None,
    process: Annotated[str, Query(max_length=500)] = "",
) -> HTMLResponse:
    """When tasks ran, by process; and how long they took."""
    found: Timeline | None = None
    durations: list[Box] = []
    memory: list[Box] = []
    with frames.reading(frame):
        if frame.records is not None:
            with frame.records.tasks() as index:
                now = int((frame.attempt.ended_at or frame.now).timestamp() * 1000)
                found = task_figures.timeline(index, now, start, end, process)
                durations, memory = task_figures.boxes(index), task_figures.boxes(index, "memory")
    return frames.show(
        request, frame, "timeline.html", "timeline", found=found, durations=durations, memory=memory,
        process=process, rows=_ROWS, most=task_figures.MOST_BARS, area=drawing.area,
        **_zoom(frame, found, process))


def _zoom(frame: Frame, found: Timeline | None, process: str) -> dict[str, Any]:
    """Links that change the window, and the times along its axis."""
    if found is None:
        return {"zoom": [], "ticks": []}
    width, whole = found.end - found.start, found.last - found.first

    def link(start: int, end: int) -> str:
        if end - start >= whole:
            start, end = found.first, found.last
        begin = min(max(start, found.first), max(found.first, found.last - (end - start)))
        return "?" + urlencode({"attempt": frame.number, "start": begin, "end": begin + end - start,
                                "process": process})

    steps = [("earlier", link(found.start - width // 2, found.end - width // 2)),
             ("later", link(found.start + width // 2, found.end + width // 2)),
             ("closer", link(found.start + width // 4, found.end - width // 4)),
             ("farther", link(found.start - width // 2, found.end + width // 2)),
             ("all", "?" + urlencode({"attempt": frame.number, "process": process}))]
    return {"zoom": steps, "ticks": drawing.ticks(found.start, found.end)}


@router.get("/executions/{execution_id}/graph")
def graph(request: Request, frame: FrameOf) -> HTMLResponse:
    """The processes, with their counts and states; an arrow leads to each that used the files of another."""
    edges = []
    for number in range(frame.number, max(0, frame.number - _ATTEMPTS), -1):
        try:  # a cached task has its inputs in the attempt that ran it
            with frame.records_of(number).tasks() as index:
                edges.append(dict(index.edges))
        except (NfresumeError, OSError):
            continue
    known = graphs.merged(edges)
    return frames.show(request, frame, "graph.html", "graph", height=graphs.HEIGHT, graphs=[
        (kind, graphs.graph(frame.progress, known, shape))
        for kind, shape in (("screen", graphs.WIDE), ("phone", graphs.NARROW))])
