"""The plots of the cost report, as plotly figures: plain dicts, drawn by plotly.js in a browser."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from nfresume.billing.usage import Ledger
from nfresume.domain.costs import GB, Meter, Sample, Usage
from nfresume.domain.periods import Period

Figure = dict[str, Any]

#: How many pipelines have a colour of their own. The others are one area.
_TOP = 8
#: How many intervals the plot over time has.
_POINTS = 300
_REST = "all others"
#: Okabe and Ito's palette: colour-blind readers can tell its colours apart. Made for light and dark pages.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#8c6bb1", "#888888")


def storage_over_time(ledger: Ledger, period: Period) -> Figure:
    """GB stored over time, stacked by pipeline. Each point is the mean of one of a few hundred intervals."""
    span = Period(max(period.start, min(ledger.first_sample_at, period.end)), period.end)
    step = (span.end - span.start) / _POINTS
    meter = Meter([], span.start, span.end, [span.start + step * n for n in range(1, _POINTS)])
    histories: dict[str, list[Sequence[Sample]]] = {}
    for execution in ledger.executions.values():
        histories.setdefault(execution.pipeline, []).append(ledger.samples.get(execution.id, ()))
    amounts: dict[str, list[int]] = {}
    for pipeline, each in histories.items():
        meter.add(_together(each), amounts.setdefault(pipeline, meter.zeros()))
    ordered = sorted((p for p in amounts if any(amounts[p])), key=lambda p: -sum(amounts[p]))
    shown = {pipeline: amounts[pipeline] for pipeline in ordered[:_TOP]}
    if len(ordered) > _TOP:
        shown[_REST] = [sum(each) for each in zip(*(amounts[p] for p in ordered[_TOP:]), strict=True)]
    widths = [b - a for a, b in zip(meter.edges, meter.edges[1:], strict=False)]
    at = [*meter.starts, span.end]
    traces = []
    for number, (pipeline, mine) in enumerate(shown.items()):
        means = [amount / width / GB for amount, width in zip(mine, widths, strict=True)]
        traces.append(_trace("scatter", label(pipeline), at, [*means, means[-1]], COLOURS[number],
                             stackgroup="bytes", line={"shape": "hv", "width": 0}))
    return _figure(traces, "GB stored")


def _together(histories: Iterable[Sequence[Sample]]) -> list[Sample]:
    """The sum of what several work dirs store, over time: a long one crosses the intervals only once."""
    changes: Counter[datetime] = Counter()
    for steps in histories:
        before = 0
        for sample in sorted(steps):
            changes[sample.at] += sample.metered - before
            before = sample.metered
    moments = sorted(changes)
    return [Sample(at, total) for at, total in zip(moments, accumulate(changes[at] for at in moments),
                                                   strict=True)]


def cost_by_account(used: Mapping[str, Usage], currency: str) -> Figure:
    """The cost of the period, one bar per account."""
    accounts = sorted(used, key=lambda account: used[account].cost(currency))
    costs = [float(used[account].cost(currency)) for account in accounts]
    bars = _trace("bar", currency, costs, [label(a) for a in accounts], COLOURS[0], orientation="h")
    return _figure([bars], None, currency)


def expiry(ledger: Ledger) -> Figure:
    """GB stored in the future, if nothing is launched, relaunched or extended."""
    stored = ledger.stored()
    ending = sorted((e.work_dir.expires_at, e.id, e.work_dir.metered_bytes or 0)
                    for e in stored if e.work_dir.expires_at is not None)
    left = sum(e.work_dir.metered_bytes or 0 for e in stored)
    at: list[datetime] = [ledger.now]
    sizes, texts = [left / GB], ["now"]
    for moment, execution_id, size in ending:
        left -= size
        at.append(max(moment, ledger.now))
        sizes.append(left / GB)
        texts.append(f"{execution_id} expires")
    at.append(max(at) + timedelta(hours=1))
    return _figure([
        _trace("scatter", "stored", at, [*sizes, left / GB], COLOURS[0], mode="lines+markers",
               fill="tozeroy", line={"shape": "hv"}, text=[*texts, ""])
    ], "GB stored")


def label(text: str) -> str:
    """A name, escaped so that plotly shows it literally. Plotly's labels interpret some HTML."""
    return html.escape("".join(c if c.isprintable() else "\ufffd" for c in text), quote=False)


def _trace(kind: str, name: str, x: list[Any], y: list[Any], colour: str, **more: Any) -> dict[str, Any]:
    x = [value.isoformat() if isinstance(value, datetime) else value for value in x]
    shape = {"marker": {"color": colour}} if kind == "bar" else {"mode": "lines", "fillcolor": colour}
    line = {"color": colour, **more.pop("line", {})}
    return {"type": kind, "name": name, "x": x, "y": y, **shape, **({"line": line} if kind != "bar" else {}),
            **more}


def _figure(traces: list[dict[str, Any]], y_title: str | None, x_title: str | None = None) -> Figure:
    grid = {"gridcolor": "rgba(128,128,128,0.25)", "zerolinecolor": "rgba(128,128,128,0.4)",
            "automargin": True}
    return {
        "data": traces,
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "hovermode": "closest",
            "margin": {"l": 50, "r": 20, "t": 10, "b": 40}, "bargap": 0.4, "showlegend": len(traces) > 1,
            "legend": {"orientation": "h", "y": -0.2, "traceorder": "normal"},
            "xaxis": {**grid, "title": {"text": x_title or ""}},
            "yaxis": {**grid, "title": {"text": y_title or ""}, "rangemode": "tozero"},
        },
    }
