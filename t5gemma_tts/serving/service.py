"""The state that all routes share, and the conversion of HTTP bodies to synthesis requests."""

import asyncio
import time
from pathlib import Path
from typing import Any

from ..model.marks import check_watermark
from .auth import ApiKeys
from .errors import BadRequest, NotFound
from .limits import Limits
from .metrics import Metrics
from .names import STOCK_VOICES, Names
from .schemas import BatchBody, SpeechItem
from .synthesis import Reference, SynthesisRequest, SynthesisService
from .uploads import decode_base64, decode_recording
from .voices import DEFAULT_VOICE, VoiceStore, codec_fingerprint


SPARE_OPEN_REQUESTS = 16  # open requests beyond twice the capacity; bounds the memory for bodies
MIN_TEMPERATURE, MIN_MIN_P = 0.01, 1e-6  # smallest values above 0 that are numerically safe
REFERENCE_AUDIO = "reference_audio"  # the voice of a request that brings its own recording
MAX_LEXICON_CHARACTERS = 200  # of a word or a pronunciation


def check_lexicon(lexicon: dict[str, str], max_entries: int) -> None:
    """
    Checks the size of a request's lexicon.

    Raises:
        BadRequest: if there are too many entries, or one is too long.
    """
    if not max_entries:
        raise BadRequest("`lexicon` is off on this server; `--max-lexicon-entries` allows it.", param="lexicon")
    if len(lexicon) > max_entries:
        raise BadRequest(f"`lexicon` must have at most {max_entries} entries, got {len(lexicon)}.", param="lexicon")
    for text in (*lexicon, *lexicon.values()):
        if len(text) > MAX_LEXICON_CHARACTERS:
            raise BadRequest(
                f"`lexicon`: a word or pronunciation must have at most {MAX_LEXICON_CHARACTERS} characters, "
                f"got {len(text)}.",
                param="lexicon",
            )


class Service:
    """
    The state that all routes share.

    Args:
        synthesis ([`SynthesisService`]): the service that generates speech.
        voices_dir (`Path`, *optional*): folder of stored voices; by default clients cannot store voices.
        names ([`Names`], *optional*): names of the model, and aliases of voices.
        keys ([`ApiKeys`], *optional*): accepted API keys; by default the server accepts everyone.
        limits ([`Limits`], *optional*): limits on each request.
        strict (`bool`): refuse requests with unknown fields, which are ignored otherwise.
        watermark (`str`): "metadata" marks files and streams as synthetic, "off" does not.

    Raises:
        ValueError: if an alias names a stored voice, but `voices_dir` is not given.
    """

    def __init__(
        self,
        synthesis: SynthesisService,
        voices_dir: str | Path | None = None,
        names: Names | None = None,
        keys: ApiKeys | None = None,
        limits: Limits | None = None,
        strict: bool = False,
        watermark: str = "metadata",
    ):
        self.synthesis, self.keys, self.limits = synthesis, keys, limits or Limits()
        self.names, self.strict = names or Names(), strict
        self.watermark = check_watermark(watermark)
        if voices_dir is None:
            self.names.check_without_voices()
        self.voices = None
        if voices_dir is not None:
            self.voices = VoiceStore(voices_dir, codec_fingerprint(synthesis.processor.codec))
        self.metrics = Metrics(synthesis)
        synthesis.on_finished = self.metrics.record_speech
        self.created = int(time.time())
        self.draining = False
        self.num_open_requests = 0
        self.num_pending_bytes = 0  # of incomplete request bodies
        self.max_open_requests = max_open_requests(synthesis.capacity)
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def ready(self) -> bool:
        """Whether the server accepts requests."""
        return self.synthesis.alive and not self.draining

    def request_started(self) -> None:
        """Counts a request whose body is complete; `request_ended` must follow."""
        self.num_open_requests += 1
        self._idle.clear()

    def request_ended(self) -> None:
        """Counts the end of a request."""
        self.num_open_requests -= 1
        if not self.num_open_requests:
            self._idle.set()

    async def drain(self) -> None:
        """Makes the server refuse new requests, and waits until all open requests have ended."""
        self.draining = True
        await self._idle.wait()

    def require_voice_store(self) -> VoiceStore:
        """
        The store of voices.

        Raises:
            BadRequest: if the server was started without one.
        """
        if self.voices is None:
            raise BadRequest("this server stores no voices: it was started without --voices-dir.", param="voice")
        return self.voices

    def unknown_fields(self, body: BatchBody | SpeechItem) -> list[str]:
        """
        The names of a body's unknown fields, which are ignored.

        Raises:
            BadRequest: if there are any and the server is strict.
        """
        names = body.unknown_fields()
        if names and self.strict:
            raise BadRequest(f"{names[0]!r:.100} is no field of this server, which runs with --strict.", param=names[0])
        return names

    async def voice_of(self, item: SpeechItem) -> str:
        """The voice that speaks an item: "reference_audio", "default", or a name that may be stored or not."""
        name, stored = item.voice_name(), list[str]()
        if name in STOCK_VOICES and self.voices is not None:
            stored = await self.synthesis.run_on_text_thread(self.voices.names)
        voice = self.names.voice(name, stored)
        if item.reference_audio is None:
            return voice
        if voice != DEFAULT_VOICE:
            raise BadRequest("give either `voice` or `reference_audio`.", param="reference_audio")
        return REFERENCE_AUDIO

    async def synthesis_request(self, item: SpeechItem, voice: str) -> SynthesisRequest:
        """
        Converts one item of an HTTP body, and loads or encodes its reference.

        Args:
            item ([`SpeechItem`]): text and options.
            voice (`str`): voice from `voice_of`.

        Raises:
            BadRequest: for invalid values.
            NotFound: for an unknown voice.
            PayloadTooLarge: for a reference recording of too many bytes.
        """
        if len(item.input) > self.limits.max_characters:
            raise BadRequest(
                f"`input` must have at most {self.limits.max_characters} characters, got {len(item.input)}; split it.",
                param="input",
            )
        if item.lexicon is not None:
            check_lexicon(item.lexicon, self.limits.max_lexicon_entries)
        return SynthesisRequest(
            text=item.input,
            language=item.language,
            duration_seconds=item.duration,
            speed=item.speed,
            sampling=sampling_options(item),
            reference=await self._reference(item, voice),
            seed=item.seed,
            normalize=item.normalize,
            lexicon=item.lexicon,
        )

    async def _reference(self, item: SpeechItem, name: str) -> Reference | None:
        if item.reference_audio is None:
            if item.reference_text is not None:
                raise BadRequest("`reference_text` was given without `reference_audio`.", param="reference_text")
            if name == DEFAULT_VOICE:
                return None
            if self.voices is None:
                raise NotFound(
                    f"there is no voice {name!r:.100}; this server has only {DEFAULT_VOICE!r}.", param="voice"
                )
            voice = await self.synthesis.run_on_text_thread(self.voices.get, name)
            return Reference(voice.codes, voice.reference_text, voice.duration_seconds)
        text = item.reference_text or ""
        if not text.strip():
            raise BadRequest("`reference_text` must be the transcript of `reference_audio`.", param="reference_text")
        data = await self.synthesis.run_on_codec_thread(decode_base64, item.reference_audio, self.limits)
        return await self.encode_reference(data, text, "reference_audio")

    async def encode_reference(self, data: bytes, text: str, param: str) -> Reference:
        """
        Decodes the bytes of an audio file and encodes them with the codec.

        Args:
            data (`bytes`): audio file.
            text (`str`): transcript.
            param (`str`): name of the request field, for error messages.

        Raises:
            BadRequest, PayloadTooLarge: as `decode_recording` and `SynthesisService.encode_reference`.
        """
        waveform, rate = await self.synthesis.run_on_codec_thread(decode_recording, data, self.limits, param)
        return await self.synthesis.encode_reference(waveform, rate, text)


def max_open_requests(capacity: int) -> int:
    """Most open connections for a capacity: twice as many and some spare, so that clients over it still get a 429."""
    return 2 * capacity + SPARE_OPEN_REQUESTS


def sampling_options(item: object) -> dict[str, Any]:
    """
    Arguments for `generate` from the attributes `temperature`, `top_k`, `top_p` and `min_p`.

    Attributes that are None keep the value of the model's generation config.

    Raises:
        BadRequest: for a temperature or min_p that is too close to 0.
    """
    options = {name: getattr(item, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    options = {name: value for name, value in options.items() if value is not None}
    for name, minimum in (("temperature", MIN_TEMPERATURE), ("min_p", MIN_MIN_P)):
        if 0 < options.get(name, 0) < minimum:
            raise BadRequest(f"`{name}` must be 0, or at least {minimum}, got {options[name]}.", param=name)
    if options.get("temperature") == 0:
        return {"do_sample": False, "temperature": 1.0}
    return options | {"do_sample": True} if options else {}


__all__ = ["Service", "max_open_requests", "sampling_options"]
