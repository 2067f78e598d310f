"""What ``/metrics`` tells Prometheus: counts, times, confidence and drift of what comes in. Never a text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Metrics:
    """One registry a service, so that two services in one process do not mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("hjc_requests", "Requests", ["route", "method", "status"], registry=registry)
        self.seconds = Histogram("hjc_request_seconds", "Time to the answer", ["route"], buckets=_SECONDS,
                                 registry=registry)  # fmt: skip
        self.refused = Counter("hjc_refused", "Requests refused because too much waited", ["model"], registry=registry)
        self.rows = Counter("hjc_rows", "Rows coded", ["model", "stage"], registry=registry)
        self.batch_rows = Histogram("hjc_batch_rows", "Rows that went through the model together", ["model"],
                                    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 1024), registry=registry)  # fmt: skip
        self.batch_seconds = Histogram("hjc_batch_seconds", "Seconds of one pass through the model", ["model"],
                                       buckets=_SECONDS, registry=registry)  # fmt: skip
        self.waiting = Gauge("hjc_waiting_rows", "Rows that wait for the model", ["model"], registry=registry)
        self.confidence = Histogram("hjc_confidence", "Probability of the first code", ["model", "level"],
                                    buckets=_SHARES, registry=registry)  # fmt: skip
        self.drift = Gauge("hjc_drift", "Recent rows against validation rows: 0 stable, 1 moderate, 2 large",
                           ["model", "check"], registry=registry)  # fmt: skip
        self.corrections = Gauge("hjc_corrections", "Corrections in force", ["model"], registry=registry)
        self.decisions = Counter("hjc_decisions", "Decisions of coders", ["kind"], registry=registry)

    def batch(self, model: str, rows: int, seconds: float) -> None:
        """A pass through a model."""
        self.batch_rows.labels(model).observe(rows)
        self.batch_seconds.labels(model).observe(seconds)

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)
