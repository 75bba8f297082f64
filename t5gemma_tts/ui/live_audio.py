"""Audio that plays while it is generated: each stream has a URL that sends the mp3 as it grows.

Gradio's own streams would need ffmpeg. `live.js` feeds the mp3 to the browser's player.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import numpy as np
from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse

from ..serving.formats import StreamEncoder, content_type
from ..serving.synthesis import SynthesisService


FORMAT = "mp3"
KEPT_SECONDS = 600.0  # after the end of a stream, so that slow players can finish


class LiveAudio:
    """An mp3 that grows while speech is generated. Use it in one event loop only."""

    def __init__(self, synthesis: SynthesisService, token: str):
        self.url = f"live/{token}.{FORMAT}"  # relative to the page
        self.ended = False
        self._synthesis = synthesis
        self._encoder: StreamEncoder | None = None
        self._chunks: list[bytes] = []
        self._changed = asyncio.Event()

    async def push(self, sound: np.ndarray) -> None:
        """Appends samples, float32 `(num_samples,)` at the sampling rate of the synthesis."""
        if self._encoder is None:
            self._encoder = await self._synthesis.run_on_codec_thread(
                StreamEncoder, self._synthesis.sampling_rate, FORMAT
            )
        self._add(await self._synthesis.run_on_codec_thread(self._encoder.push, sound))

    async def finish(self) -> None:
        """Appends the encoder's last bytes and ends the stream."""
        if self._encoder is not None:
            self._add(await self._synthesis.run_on_codec_thread(self._encoder.finish))
        self.abort()

    def abort(self) -> None:
        """Ends the stream without the encoder's last bytes, for example after an error."""
        self.ended, self._encoder = True, None
        self._notify()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the bytes from the beginning, and waits for more until the stream ends."""
        num_sent = 0
        while True:
            changed = self._changed
            while num_sent < len(self._chunks):
                num_sent += 1
                yield self._chunks[num_sent - 1]
            if self.ended:
                return
            await changed.wait()

    def _add(self, chunk: bytes) -> None:
        if chunk:
            self._chunks.append(chunk)
            self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class LiveAudioStreams:
    """The streams of a page, at URLs that cannot be guessed. Each is deleted `kept_seconds` after its end."""

    def __init__(self, synthesis: SynthesisService, kept_seconds: float = KEPT_SECONDS):
        self.synthesis, self.kept_seconds = synthesis, kept_seconds
        self._streams: dict[str, LiveAudio] = {}

    @contextmanager
    def open(self) -> Iterator[LiveAudio]:
        """Opens a stream for the duration of the block. Leaving the block ends it, so that no player waits forever."""
        token = secrets.token_urlsafe(16)
        self._streams[token] = LiveAudio(self.synthesis, token)
        try:
            yield self._streams[token]
        finally:
            self._streams[token].abort()
            asyncio.get_running_loop().call_later(self.kept_seconds, self._streams.pop, token, None)

    def router(self) -> APIRouter:
        """The route that sends the streams."""
        router = APIRouter()

        @router.get(f"/live/{{token}}.{FORMAT}")
        async def live(token: str) -> StreamingResponse:
            if token not in self._streams:
                raise HTTPException(404, "This audio does not exist or has expired.")
            kind = content_type(FORMAT, self.synthesis.sampling_rate)
            return StreamingResponse(
                self._streams[token].chunks(), media_type=kind, headers={"Cache-Control": "no-store"}
            )

        return router


__all__ = ["LiveAudio", "LiveAudioStreams"]
