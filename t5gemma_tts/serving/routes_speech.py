"""`/v1/audio/speech` and its batches."""

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from .disconnects import LiveResponse, until_disconnect
from .errors import BadRequest, ServingError
from .formats import CONTENT_TYPES, content_type, encode_sound, open_encoder
from .schemas import BatchAnswer, BatchBody, BatchResult, Error, SpeechBody, SpeechItem
from .service import Service
from .synthesis import Job, Spoken


EVENT_STREAM = "text/event-stream"
EVENT_SCHEMA = {  # of each event
    "type": "object",
    "properties": {"data": {"type": "string", "description": "JSON: speech.audio.delta, speech.audio.done, or error."}},
    "required": ["data"],
}
SOUND_ANSWER = {
    "description": "The sound. Its seed is in the header X-Seed, and if it was sent whole, its length in X-Duration.",
    "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in CONTENT_TYPES.values()}
    | {EVENT_STREAM: {"schema": EVENT_SCHEMA}},
}


def speech_router(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/audio", tags=["speech"])

    @router.post("/speech", response_class=Response, responses={200: SOUND_ANSWER})
    async def speak(body: SpeechBody, request: Request) -> Response:
        """Speak a text."""
        service.check_model(body.model)
        if body.stream_format is not None:
            return await stream(service, body, request)
        spoken, sound = await until_disconnect(request.receive, speak_whole(service, body, body.response_format))
        seconds = len(spoken.sound) / service.synthesis.sampling_rate
        headers = {"X-Seed": str(spoken.seed), "X-Duration": f"{seconds:.4f}"}
        return Response(sound, media_type=media_type(service, body), headers=headers)

    @router.post("/speech/batch", response_model=BatchAnswer)
    async def speak_batch(body: BatchBody, request: Request) -> BatchAnswer:
        """Speak several texts at once; each has an `audio` or an `error`."""
        service.check_model(body.model)
        if len(body.items) > service.limits.max_batch_items:
            raise BadRequest(
                f"`items` must be at most {service.limits.max_batch_items}, got {len(body.items)}.", param="items"
            )
        with service.synthesis.admit(len(body.items)):
            work = [batch_item(service, index, item, body.response_format) for index, item in enumerate(body.items)]
            results = await until_disconnect(request.receive, all_of(work))
        return BatchAnswer(response_format=body.response_format, data=results)

    return router


def media_type(service: Service, body: SpeechBody) -> str:
    return content_type(body.response_format, service.synthesis.sampling_rate)


async def all_of(work: list[Coroutine[Any, Any, BatchResult]]) -> list[BatchResult]:
    """Results of all coroutines; if this one is cancelled, they are, too."""
    return await asyncio.gather(*work)


async def speak_whole(service: Service, item: SpeechItem, audio_format: str) -> tuple[Spoken, bytes]:
    with service.synthesis.admit():
        return await spoken_file(service, await service.job(item), audio_format)


async def spoken_file(service: Service, job: Job, audio_format: str) -> tuple[Spoken, bytes]:
    synthesis = service.synthesis
    spoken = await synthesis.speak(job)
    return spoken, await synthesis.on_codec_thread(encode_sound, spoken.sound, synthesis.sampling_rate, audio_format)


async def batch_item(service: Service, index: int, item: dict[str, Any], audio_format: str) -> BatchResult:
    try:
        job = await service.job(SpeechItem.model_validate(item))
        spoken, sound = await spoken_file(service, job, audio_format)
    except ValidationError as error:
        refusal = validation_error(error.errors())
        return BatchResult(index=index, error=Error.model_validate(refusal.body()["error"]))
    except ServingError as error:
        return BatchResult(index=index, error=Error.model_validate(error.body()["error"]))
    return BatchResult(
        index=index,
        audio=base64.b64encode(sound).decode(),
        duration=len(spoken.sound) / service.synthesis.sampling_rate,
        seed=spoken.seed,
    )


def validation_error(errors: Sequence[Any]) -> BadRequest:
    """The first thing that pydantic found wrong, without repeating what was sent."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return BadRequest(f"{place}: {first['msg']}" if place else first["msg"], param=place or None)


async def stream(service: Service, body: SpeechBody, request: Request) -> LiveResponse:
    """An answer that begins when there is something to hear, so that what is wrong before has its own status."""
    if body.seed is None:
        body = body.model_copy(update={"seed": secrets.randbelow(2**31)})
    pieces = live_pieces(service, body)
    first = await until_disconnect(request.receive, anext(pieces))
    kind = EVENT_STREAM if body.stream_format == "sse" else media_type(service, body)
    headers = {"X-Seed": str(body.seed), "Cache-Control": "no-store"}
    return LiveResponse(first, pieces, media_type=kind, headers=headers)


async def live_pieces(service: Service, body: SpeechBody) -> AsyncGenerator[bytes, None]:
    """What is to be sent, as it is spoken; at least one piece."""
    synthesis, as_events = service.synthesis, body.stream_format == "sse"
    begun = False
    try:
        with synthesis.admit():
            encoder = await synthesis.on_codec_thread(open_encoder, synthesis.sampling_rate, body.response_format)
            async with aclosing(synthesis.stream(await service.job(body))) as sounds:
                async for spoken in sounds:
                    if piece := await synthesis.on_codec_thread(encoder.push, spoken.sound):
                        begun = True
                        yield delta(piece) if as_events else piece
            piece = await synthesis.on_codec_thread(encoder.finish)
            if piece or not begun:
                yield delta(piece) if as_events else piece
    except ServingError as error:
        if not (as_events and begun):
            raise
        yield event({"type": "error", **error.body()})
        return
    if as_events:
        usage = {"input_tokens": spoken.text_tokens, "output_tokens": spoken.num_frames}
        usage["total_tokens"] = sum(usage.values())
        yield event({"type": "speech.audio.done", "usage": usage})


def delta(piece: bytes) -> bytes:
    return event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})


def event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


__all__ = ["speech_router", "validation_error"]
