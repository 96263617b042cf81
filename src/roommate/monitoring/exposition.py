"""Prometheus' text: what `/metrics` says, from counts and from how the daemon is at that moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from roommate.monitoring.counts import Counts, Histogram

PREFIX = "roommate"


@dataclass(frozen=True, slots=True)
class Gauge:
    """Something that goes up and down. Without a value there is no sample: it is not known."""

    name: str
    about: str
    value: float | None


def exposition(
    accept: str,
    *,
    build: Mapping[str, str],
    gauges: Sequence[Gauge],
    problems: Mapping[str, bool],
    errors: int,
    unread: int,
    withheld: Mapping[str, int],
    counts: Counts,
) -> tuple[str, bytes]:
    """Content type and text, as an Accept header wants it. `problems` are all that there could be.
    `unread` and `withheld`: encrypted events without their key, and keys that were not given, by whom."""
    registry = CollectorRegistry()
    ProcessCollector(namespace=PREFIX, registry=registry)
    registry.register(_Daemon(build, gauges, problems, errors, unread, withheld, counts))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


@dataclass(frozen=True, eq=False)  # the registry keeps it by identity
class _Daemon(Collector):
    build: Mapping[str, str]
    gauges: Sequence[Gauge]
    problems: Mapping[str, bool]
    errors: int
    unread: int
    withheld: Mapping[str, int]
    counts: Counts

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(f"{PREFIX}_build_info", "What runs; always 1", labels=list(self.build))
        info.add_metric(list(self.build.values()), 1)
        yield info
        problem = GaugeMetricFamily(f"{PREFIX}_problem", "1 while there is this problem", labels=["problem"])
        for key, there in self.problems.items():
            problem.add_metric([key], float(there))
        yield problem
        for gauge in self.gauges:
            yield GaugeMetricFamily(f"{PREFIX}_{gauge.name}", gauge.about, gauge.value)
        yield from self._counted()

    def _counted(self) -> Iterable[Metric]:
        counts = self.counts
        yield _counter("errors", "Errors that were logged", [], [((), self.errors)])
        yield _counter("undecrypted_events", "Encrypted events that came without their key", [], [((), self.unread)])
        withheld = [((by,), count) for by, count in self.withheld.items()]
        yield _counter("withheld_keys", "Keys of encrypted rooms that somebody did not give", ["by"], withheld)
        turns = [((stop,), count) for stop, count in counts.turns.items()]
        yield _counter("turns", "Turns that have ended", ["outcome"], turns)
        yield _histogram("turn_seconds", "From a turn's beginning to its end", counts.turn_seconds)
        ratings = [((rating,), count) for rating, count in counts.ratings.items()]
        yield _counter("ratings", "👍 and 👎 that people gave to answers", ["rating"], ratings)
        yield _counter("tool_calls", "Calls of the model's tools", ["tool", "outcome"], counts.tool_calls.items())
        yield _histogram("tool_call_seconds", "How long they took", counts.tool_seconds)
        yield _counter(
            "model_calls", "Calls of models by conversations", ["model", "outcome"], counts.model_calls.items()
        )
        yield _histogram("model_call_seconds", "How long they took, to the last token", counts.model_seconds)
        yield _counter("tokens", "What model calls took", ["model", "direction", "by"], counts.tokens.items())
        yield _counter(
            "cost_dollars", "What they cost where the price is known", ["model", "by"], counts.dollars.items()
        )


def _counter(
    name: str, about: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", about, labels=list(labels))
    for key, value in sorted(values):
        family.add_metric(list(key), value)
    return family


def _histogram(name: str, about: str, histogram: Histogram) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"{PREFIX}_{name}", about)
    family.add_metric([], histogram.buckets, histogram.sum)
    return family
