"""What a server counts of itself and of its database, in Prometheus' form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from autotune.errors import StorageError
from autotune.studies import attempts
from autotune.studies.models import Attempt, Search, Trial
from autotune.studies.store import Store

METHODS = frozenset({"GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER = "other"  # of what is not known, or anybody could make as many names as they like
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STREAMS = frozenset({"/v1/searches/{name}/events"})  # last as long as their listeners stay


class Metrics:
    """The counts of one server.

    Args:
        store: Its database.
        listeners: Returns how many follow a search.
        draining: Returns whether it is to end.
    """

    def __init__(
        self, store: Store, listeners: Callable[[], float], draining: Callable[[], float]
    ) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "autotune_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "autotune_http_request_seconds",
            "Time until the answer was sent, with what the caller asked to wait.",
            ("method", "route"),
            buckets=SECONDS,
            registry=registry,
        )
        follows = Gauge("autotune_listeners", "Streams of events that are open.", registry=registry)
        follows.set_function(listeners)
        ends = Gauge("autotune_draining", "1 when this server is to end.", registry=registry)
        ends.set_function(draining)
        registry.register(_Stored(store))

    def note(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request."""
        known = method if method in METHODS else OTHER
        path = route or OTHER
        self._requests.labels(known, path, str(status)).inc()
        if path not in STREAMS:
            self._seconds.labels(known, path).observe(seconds)

    def text(self) -> bytes:
        """Return all counts; waits for the database."""
        return generate_latest(self._registry)


class _Stored(Collector):
    """What is in the database, read when it is asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> Iterator[Metric]:
        """Say nothing when registered: the database need not be there then."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield counts of searches, trials and leases, unless the database is away."""
        up = GaugeMetricFamily("autotune_database_up", "1 while the database answers.")
        try:
            found = list(self._counts())
        except StorageError:
            found = []
        up.add_metric((), float(bool(found)))
        yield up
        yield from found

    def _counts(self) -> Iterator[Metric]:
        with self._store.reading() as connection:
            for name, column in (("searches", Search.state), ("trials", Trial.state)):
                family = GaugeMetricFamily(
                    f"autotune_{name}", f"Stored {name} by state.", labels=("state",)
                )
                query = select(column, func.count()).group_by(column)
                for state, number in connection.execute(query):
                    family.add_metric((state,), number)
                yield family
            now = attempts.now(connection)
            held = (Attempt.ended.is_(None), Attempt.expires >= now)
            leases = connection.scalar(select(func.count(Attempt.id)).where(*held)) or 0
        yield GaugeMetricFamily("autotune_leases", "Trials that workers hold.", value=leases)
