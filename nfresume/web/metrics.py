"""/healthz, /readyz and /metrics: what a monitoring system asks."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from nfresume import __version__
from nfresume.domain.people import Role
from nfresume.service import health
from nfresume.web import access
from nfresume.web.access import SiteOf
from nfresume.web.changes import Changes
from nfresume.web.site import Site

router = APIRouter(include_in_schema=False)

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CACHE_KEY = "all"


class Metrics:
    """The metrics of one server: times of requests, and on each scrape the figures of the database."""

    def __init__(self, site: Site, changes: Changes) -> None:
        self._site = site
        self._changes = changes
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "nfresume_request_seconds", "Time of requests, by route and class of status.",
            ["method", "route", "status"], buckets=_BUCKETS, registry=self.registry)
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is a template of a path, so that there are not too many of them."""
        known = method if method in ("GET", "POST", "DELETE", "HEAD") else "other"
        self._requests.labels(known, route, f"{status // 100}xx").observe(seconds)

    def describe(self) -> Iterable[Metric]:
        """No metrics in advance: prometheus-client would collect to find their names."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The figures of the database and of this process, at most two seconds old."""
        site, state = self._site, self._site.health
        found = site.cached("metrics", _CACHE_KEY, lambda: health.snapshot(site.store, site.conf))
        figures = found.figures
        yield _gauge("nfresume_info", "Version of this server.", {(__version__,): 1}, ["version"])
        yield _gauge("nfresume_executions", "Executions, by state.",
                     {(name.lower(),): count for name, count in figures.executions.items()}, ["state"])
        yield _gauge("nfresume_retained_bytes", "Bytes in retained work dirs.",
                     {(): sum(stored for stored, _ in figures.retained.values())})
        yield _gauge("nfresume_retained_metered_bytes", "The same bytes as the storage meters them.",
                     {(): sum(metered for _, metered in figures.retained.values())})
        yield _gauge("nfresume_retained_cost_per_month", "What they cost a month at the current price.",
                     {(currency,): cost for currency, cost in found.cost_per_month.items()}, ["currency"])
        for name, value, text in (
            ("due", figures.due, "have expired"),
            ("overdue", figures.overdue, "expired longer ago than several sweeps take"),
            ("deleting", figures.deleting, "are being deleted"),
            ("held", figures.held, "are kept because deleting them would lose something"),
            ("blocked", figures.blocked, "cannot be removed entirely"),
        ):
            yield _gauge(f"nfresume_work_dirs_{name}", f"Work dirs that {text}.", {(): value})
        yield _gauge("nfresume_notices_failed", "Notices that were not delivered.",
                     {(): figures.failed_notices})
        yield _gauge("nfresume_event_streams", "Open event streams.", {(): len(self._changes)})
        if state.scheduled:
            yield _gauge("nfresume_sweep_age_seconds", "Seconds since the last whole sweep of this server.",
                         {(): state.since_sweep})
        yield _counter("nfresume_sweeps", "Sweeps of this server.",
                       {("whole",): state.sweeps, ("failed",): state.failed_sweeps}, ["outcome"])
        yield _counter("nfresume_removed_files", "Files that sweeps of this server removed.",
                       {(): state.removed_files})
        yield _counter("nfresume_removed_bytes", "Bytes on disk that sweeps of this server removed.",
                       {(): state.removed_bytes})


def _family(
    kind: type[GaugeMetricFamily | CounterMetricFamily], name: str, text: str,
    values: dict[tuple[str, ...], float], labels: list[str] | None = None,
) -> Metric:
    family = kind(name, text, labels=labels or [])
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family


_gauge, _counter = partial(_family, GaugeMetricFamily), partial(_family, CounterMetricFamily)


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """Alive: this process answers. Needs no token and looks at nothing else."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz")
def readyz(site: SiteOf) -> JSONResponse:
    """Ready: database, root and sweep are well; 503 if one is not. Needs no token and tells no detail."""
    found = site.health.checks(site.store, site.conf)
    ready = all(found.values())
    return JSONResponse({"status": "ready" if ready else "not ready", "checks": found}, 200 if ready else 503)


@router.get("/metrics")
def metrics(request: Request, site: SiteOf, authorization: Annotated[str, Header()] = "") -> Response:
    """The metrics in Prometheus' format, for a token of an owner of the server's own account.

    They are sums over all accounts. Raises Unauthorized, NotFound, Forbidden.
    """
    who = access.caller(request, authorization, "")
    access.role_in(who.user, site.conf.account, Role.OWNER)
    found: Metrics = request.app.state.metrics
    return Response(generate_latest(found.registry), media_type=CONTENT_TYPE_LATEST)
