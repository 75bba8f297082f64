"""Audio that plays while it is generated: each stream has a URL that delivers the bytes that exist so far.

Gradio's own streams need ffmpeg on the machine. `live.js` gives the browser's player an mp3 as it grows.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import numpy as np
from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse

from ..serving.formats import PCMEncoder, PyAVEncoder, content_type, open_encoder
from ..serving.synthesis import SynthesisService


FORMAT = "mp3"
KEPT_SECONDS = 600.0  # after its end, for those who still listen or want it once more


class LiveAudio:
    """An mp3 that grows. Belongs to one event loop."""

    def __init__(self, synthesis: SynthesisService, token: str):
        self.address = f"live/{token}.{FORMAT}"  # below that of the page
        self.ended = False
        self._synthesis = synthesis
        self._encoder: PCMEncoder | PyAVEncoder | None = None
        self._pieces: list[bytes] = []
        self._more = asyncio.Event()

    async def push(self, sound: np.ndarray) -> None:
        """Adds float32 `(num_samples,)` at the synthesis's rate."""
        if self._encoder is None:
            self._encoder = await self._synthesis.run_on_codec_thread(
                open_encoder, self._synthesis.sampling_rate, FORMAT
            )
        self._add(await self._synthesis.run_on_codec_thread(self._encoder.push, sound))

    async def finish(self) -> None:
        """Nothing more comes."""
        if self._encoder is not None:
            self._add(await self._synthesis.run_on_codec_thread(self._encoder.finish))
        self.abandon()

    def abandon(self) -> None:
        """Nothing more comes, and what the encoder holds back is lost."""
        self.ended, self._encoder = True, None
        self._tell()

    async def listen(self) -> AsyncIterator[bytes]:
        """All of it from its beginning, as it comes."""
        heard = 0
        while True:
            more = self._more
            while heard < len(self._pieces):
                heard += 1
                yield self._pieces[heard - 1]
            if self.ended:
                return
            await more.wait()

    def _add(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self._tell()

    def _tell(self) -> None:
        told, self._more = self._more, asyncio.Event()
        told.set()


class LiveAudioStreams:
    """All sounds of a page by their unguessable addresses, for `kept_seconds` after each one's end."""

    def __init__(self, synthesis: SynthesisService, kept_seconds: float = KEPT_SECONDS):
        self.synthesis, self.kept_seconds = synthesis, kept_seconds
        self._sounds: dict[str, LiveAudio] = {}

    @contextmanager
    def open(self) -> Iterator[LiveAudio]:
        """A new sound, which ends with the block at the latest: those who listen must not wait for ever."""
        token = secrets.token_urlsafe(16)
        self._sounds[token] = LiveAudio(self.synthesis, token)
        try:
            yield self._sounds[token]
        finally:
            self._sounds[token].abandon()
            asyncio.get_running_loop().call_later(self.kept_seconds, self._sounds.pop, token, None)

    def router(self) -> APIRouter:
        router = APIRouter()

        @router.get(f"/live/{{token}}.{FORMAT}")
        async def live(token: str) -> StreamingResponse:
            if token not in self._sounds:
                raise HTTPException(404, "There is no such sound, or no longer.")
            kind = content_type(FORMAT, self.synthesis.sampling_rate)
            return StreamingResponse(
                self._sounds[token].listen(), media_type=kind, headers={"Cache-Control": "no-store"}
            )

        return router


__all__ = ["LiveAudio", "LiveAudioStreams"]
