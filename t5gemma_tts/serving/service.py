"""The state that all routes share, and the conversion of requests to synthesis jobs."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .auth import ApiKeys
from .errors import BadRequest, NotFound
from .limits import Limits
from .metrics import Metrics
from .schemas import SpeechItem
from .synthesis import Job, Reference, SynthesisService
from .uploads import decode_base64, decode_recording
from .voices import DEFAULT_VOICE, VoiceStore, codec_fingerprint


SPARE_OPEN = 16  # requests, beyond twice those that can be taken, whose bodies may be in memory
LEAST_TEMPERATURE, LEAST_MIN_P = 0.01, 1e-6  # above 0: less is no number to divide by


class Service:
    """
    Args:
        synthesis ([`SynthesisService`])
        voices_dir (`Path`, *optional*): where voices are kept; without it none can be.
        model_names (sequence of `str`): what clients may call the model, the first being its name.
        keys ([`ApiKeys`], *optional*): who is let in; everybody if not given.
        limits ([`Limits`], *optional*)
    """

    def __init__(
        self,
        synthesis: SynthesisService,
        voices_dir: str | Path | None = None,
        model_names: Sequence[str] = ("t5gemma-tts",),
        keys: ApiKeys | None = None,
        limits: Limits | None = None,
    ):
        if not model_names:
            raise ValueError("`model_names` must have at least one name.")
        self.synthesis, self.keys, self.limits = synthesis, keys, limits or Limits()
        self.model_names = tuple(model_names)
        self.voices = None
        if voices_dir is not None:
            self.voices = VoiceStore(voices_dir, codec_fingerprint(synthesis.processor.codec))
        self.metrics = Metrics(synthesis)
        synthesis.on_spoken = self.metrics.spoken
        self.created = int(time.time())
        self.draining = False
        self.num_open = 0
        self.max_open = most_open(synthesis.capacity)
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def ready(self) -> bool:
        return self.synthesis.alive and not self.draining

    def opened(self) -> None:
        """A request has come."""
        self.num_open += 1
        self._quiet.clear()

    def closed(self) -> None:
        """It has been answered."""
        self.num_open -= 1
        if not self.num_open:
            self._quiet.set()

    async def drain(self) -> None:
        """From now on nothing is taken; returns when all that was has been answered."""
        self.draining = True
        await self._quiet.wait()

    def check_model(self, name: str | None) -> None:
        if name is not None and name not in self.model_names:
            known = ", ".join(map(repr, self.model_names))
            raise NotFound(f"there is no model {name!r:.200} here, only {known}.", param="model")

    def voice_store(self) -> VoiceStore:
        if self.voices is None:
            raise BadRequest("this server keeps no voices: it was started without --voices-dir.", param="voice")
        return self.voices

    async def job(self, item: SpeechItem) -> Job:
        """
        Raises:
            BadRequest, NotFound, PayloadTooLarge: for what cannot be spoken.
        """
        if len(item.input) > self.limits.max_characters:
            raise BadRequest(
                f"`input` must have at most {self.limits.max_characters} characters, got {len(item.input)}; split it.",
                param="input",
            )
        return Job(
            text=item.input,
            language=item.language,
            duration_seconds=item.duration,
            speed=item.speed,
            sampling=sampling_options(item),
            reference=await self._reference(item),
            seed=item.seed,
        )

    async def _reference(self, item: SpeechItem) -> Reference | None:
        name = item.voice_name()
        if item.reference_audio is None:
            if item.reference_text is not None:
                raise BadRequest("`reference_text` was given without `reference_audio`.", param="reference_text")
            if name == DEFAULT_VOICE:
                return None
            if self.voices is None:
                raise NotFound(f"there is no voice {name!r:.100}, only {DEFAULT_VOICE!r}.", param="voice")
            voice = await self.synthesis.on_text_thread(self.voices.get, name)
            return Reference(voice.codes, voice.reference_text, voice.duration_seconds)
        if name != DEFAULT_VOICE:
            raise BadRequest("give either `voice` or `reference_audio`.", param="reference_audio")
        text = item.reference_text or ""
        if not text.strip():
            raise BadRequest("`reference_text` must say what is said in `reference_audio`.", param="reference_text")
        data = await self.synthesis.on_codec_thread(decode_base64, item.reference_audio, self.limits)
        return await self.encode(data, text, "reference_audio")

    async def encode(self, data: bytes, text: str, param: str) -> Reference:
        """A reference from an audio file."""
        waveform, rate = await self.synthesis.on_codec_thread(decode_recording, data, self.limits, param)
        return await self.synthesis.read_reference(waveform, rate, text)


def most_open(capacity: int) -> int:
    """Requests that may be open where `capacity` can be taken: the rest wait for their refusal."""
    return 2 * capacity + SPARE_OPEN


def sampling_options(item: object) -> dict[str, Any]:
    """What the client asked for, in attributes of these names; the rest stays with the model's generation config."""
    options = {name: getattr(item, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    options = {name: value for name, value in options.items() if value is not None}
    for name, least in (("temperature", LEAST_TEMPERATURE), ("min_p", LEAST_MIN_P)):
        if 0 < options.get(name, 0) < least:
            raise BadRequest(f"`{name}` must be 0, or at least {least}, got {options[name]}.", param=name)
    if options.get("temperature") == 0:
        return {"do_sample": False, "temperature": 1.0}
    return options | {"do_sample": True} if options else {}


__all__ = ["Service", "most_open", "sampling_options"]
