"""Prometheus metrics of the server."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from .synthesis import SynthesisService
from .worker import SpeechTask


SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Of one server, in a registry of its own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, synthesis: SynthesisService):
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "t5gemma_tts_requests", "Requests answered.", ["method", "path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "t5gemma_tts_request_seconds",
            "From a request to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "t5gemma_tts_queue_seconds", "That speeches waited for a place.", buckets=SECONDS, registry=registry
        )
        self.tokens = Counter("t5gemma_tts_audio_tokens", "Audio tokens of speeches that ended.", registry=registry)
        self.speech_seconds = Counter(
            "t5gemma_tts_speech_seconds", "Seconds of speech that was spoken to its end.", registry=registry
        )
        self.frame_rate = synthesis.frame_rate
        for name, text, value in (
            ("speaking", "Speeches in the batch.", lambda: synthesis.speaker.num_running),
            ("waiting", "Speeches that wait for a place.", lambda: synthesis.speaker.num_waiting),
            ("admitted", "Texts taken and not answered yet.", lambda: synthesis.num_admitted),
            ("capacity", "Texts that can be taken.", lambda: synthesis.capacity),
        ):
            Gauge(f"t5gemma_tts_{name}", text, registry=registry).set_function(value)

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Counts an answer; `path` is the route's, of which there are few."""
        self.requests.labels(method, path, status).inc()
        self.seconds.labels(path).observe(seconds)

    def spoken(self, speech: SpeechTask) -> None:
        """Counts a speech that has ended."""
        if speech.started_at is not None:
            self.queue_seconds.observe(speech.started_at - speech.submitted_at)
        self.tokens.inc(len(speech.token_ids))
        self.speech_seconds.inc(len(speech.token_ids) / self.frame_rate)

    def text(self) -> bytes:
        return generate_latest(self.registry)


__all__ = ["Metrics"]
