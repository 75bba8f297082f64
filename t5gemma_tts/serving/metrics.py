"""Prometheus metrics of the server."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .synthesis import SynthesisService
from .worker import SpeechTask


SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The metrics of one server. Each has its own registry, so that several servers can share a process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, synthesis: SynthesisService):
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "t5gemma_tts_requests", "Requests answered.", ["method", "path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "t5gemma_tts_request_seconds",
            "Time from a request to the end of its response.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "t5gemma_tts_queue_seconds", "Time that requests waited in the queue.", buckets=SECONDS, registry=registry
        )
        self.tokens = Counter("t5gemma_tts_audio_tokens", "Audio tokens of completed requests.", registry=registry)
        self.speech_seconds = Counter(
            "t5gemma_tts_speech_seconds", "Seconds of speech of completed requests.", registry=registry
        )
        self.frame_rate = synthesis.frame_rate
        for name, text, value in (
            ("speaking", "Requests in the batch.", lambda: synthesis.worker.num_running),
            ("waiting", "Requests that wait in the queue.", lambda: synthesis.worker.num_waiting),
            ("admitted", "Texts accepted and not yet answered.", lambda: synthesis.num_admitted),
            ("capacity", "Most texts accepted at a time.", lambda: synthesis.capacity),
        ):
            Gauge(f"t5gemma_tts_{name}", text, registry=registry).set_function(value)

    def record_response(self, method: str, path: str, status: int, seconds: float) -> None:
        """Counts a response. `path` is the route's template, so that the number of label values is bounded."""
        self.requests.labels(method, path, status).inc()
        self.seconds.labels(path).observe(seconds)

    def record_speech(self, task: SpeechTask) -> None:
        """Counts the tokens, the duration and the waiting time of a completed request."""
        if task.started_at is not None:
            self.queue_seconds.observe(task.started_at - task.submitted_at)
        self.tokens.inc(len(task.token_ids))
        self.speech_seconds.inc(len(task.token_ids) / self.frame_rate)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


__all__ = ["Metrics"]
