"""`/v1/audio/speech` and `/v1/audio/speech/batch`."""

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from .disconnects import CancellableStreamingResponse, run_until_disconnect
from .errors import BadRequest, ServingError
from .formats import CONTENT_TYPES, StreamEncoder, content_type, response_rate
from .names import header_list, header_value
from .schemas import BatchBody, BatchResponse, BatchResult, Error, SpeechBody, SpeechItem
from .service import Service
from .speech import SpokenFile, speak_chunks, speak_file


EVENT_STREAM = "text/event-stream"
EVENT_SCHEMA = {
    "type": "object",
    "properties": {"data": {"type": "string", "description": "JSON: speech.audio.delta, speech.audio.done, or error."}},
    "required": ["data"],
}
AUDIO_RESPONSE = {
    "description": "The audio. X-Model and X-Voice name the model and voice that spoke, X-Seed has the seed, and "
    "X-Ignored-Fields names the fields that the server does not know. Without streaming, X-Duration has the duration "
    "in seconds.",
    "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in CONTENT_TYPES.values()}
    | {EVENT_STREAM: {"schema": EVENT_SCHEMA}},
}


def speech_router(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/audio", tags=["speech"])

    @router.post("/speech", response_class=Response, responses={200: AUDIO_RESPONSE})
    async def speak(body: SpeechBody, request: Request) -> Response:
        """Speak a text."""
        headers = answer_headers(service, body)
        rate = response_rate(body.response_format, body.sample_rate, service.synthesis.sampling_rate)
        voice = await service.voice_of(body)
        headers["X-Voice"] = header_value(voice)
        if body.streams:
            return await stream_response(service, body, voice, rate, headers, request)
        spoken = await run_until_disconnect(request.receive, synthesize_file(service, body, voice, rate))
        headers |= {"X-Seed": str(spoken.seed), "X-Duration": f"{spoken.seconds:.4f}"}
        return Response(spoken.data, media_type=content_type(body.response_format, rate), headers=headers)

    @router.post("/speech/batch", response_model=BatchResponse)
    async def speak_batch(body: BatchBody, request: Request, response: Response) -> BatchResponse:
        """Speak several texts at once; each result has an `audio` or an `error`."""
        response.headers.update(answer_headers(service, body))
        rate = response_rate(body.response_format, body.sample_rate, service.synthesis.sampling_rate)
        if len(body.items) > service.limits.max_batch_items:
            raise BadRequest(
                f"`items` must be at most {service.limits.max_batch_items}, got {len(body.items)}.", param="items"
            )
        with service.synthesis.admit(len(body.items)):
            work = [
                synthesize_item(service, index, item, body.response_format, rate)
                for index, item in enumerate(body.items)
            ]
            results = await run_until_disconnect(request.receive, gather_results(work))
        return BatchResponse(response_format=body.response_format, data=results)

    return router


def answer_headers(service: Service, body: SpeechBody | BatchBody) -> dict[str, str]:
    """The name of the model that serves a body, and the names of fields that are ignored."""
    headers = {"X-Model": header_value(service.names.model(body.model))}
    if ignored := service.unknown_fields(body):
        headers["X-Ignored-Fields"] = header_list(ignored)
    return headers


async def gather_results(work: list[Coroutine[Any, Any, BatchResult]]) -> list[BatchResult]:
    """Results of all coroutines. Cancelling this coroutine cancels them."""
    return await asyncio.gather(*work)


async def synthesize_file(service: Service, body: SpeechBody, voice: str, rate: int) -> SpokenFile:
    with service.synthesis.admit():
        request = await service.synthesis_request(body, voice)
        return await speak_file(service.synthesis, request, body.response_format, rate, service.watermark)


async def synthesize_item(
    service: Service, index: int, item: dict[str, Any], audio_format: str, rate: int
) -> BatchResult:
    try:
        checked = SpeechItem.model_validate(item)
        ignored = service.unknown_fields(checked)
        voice = await service.voice_of(checked)
        request = await service.synthesis_request(checked, voice)
        spoken = await speak_file(service.synthesis, request, audio_format, rate, service.watermark)
    except ValidationError as error:
        rejection = validation_error(error.errors())
        return BatchResult(index=index, error=Error.model_validate(rejection.body()["error"]))
    except ServingError as error:
        return BatchResult(index=index, error=Error.model_validate(error.body()["error"]))
    return BatchResult(
        index=index,
        audio=base64.b64encode(spoken.data).decode(),
        duration=spoken.seconds,
        seed=spoken.seed,
        voice=voice,
        ignored_fields=ignored,
    )


def validation_error(errors: Sequence[Any]) -> BadRequest:
    """The first error that pydantic found. The message does not repeat the input, which may be long or secret."""
    first = errors[0]
    path = ".".join(str(part) for part in first["loc"] if part != "body")
    return BadRequest(f"{path}: {first['msg']}" if path else first["msg"], param=path or None)


async def stream_response(
    service: Service, body: SpeechBody, voice: str, rate: int, headers: dict[str, str], request: Request
) -> CancellableStreamingResponse:
    """Waits for the first chunk before it returns the response, so that errors until then have their own status."""
    if body.seed is None:
        body = body.model_copy(update={"seed": secrets.randbelow(2**31)})
    chunks = stream_chunks(service, body, voice, rate)
    first = await run_until_disconnect(request.receive, anext(chunks))
    kind = EVENT_STREAM if body.stream_format == "sse" else content_type(body.response_format, rate)
    headers = headers | {"X-Seed": str(body.seed), "Cache-Control": "no-store"}
    return CancellableStreamingResponse(first, chunks, media_type=kind, headers=headers)


async def stream_chunks(service: Service, body: SpeechBody, voice: str, rate: int) -> AsyncGenerator[bytes, None]:
    """Yields the body of a stream in chunks, at least one, while the speech is generated."""
    synthesis, as_events = service.synthesis, body.stream_format == "sse"
    started = False
    try:
        with synthesis.admit():
            encoder = await synthesis.run_on_codec_thread(
                StreamEncoder, synthesis.sampling_rate, body.response_format, rate, service.watermark
            )
            request = await service.synthesis_request(body, voice)
            async with aclosing(speak_chunks(synthesis, request)) as results:
                async for result in results:
                    if chunk := await synthesis.run_on_codec_thread(encoder.push, result.waveform):
                        started = True
                        yield delta_event(chunk) if as_events else chunk
            chunk = await synthesis.run_on_codec_thread(encoder.finish)
            if chunk or not started:
                yield delta_event(chunk) if as_events else chunk
    except ServingError as error:
        if not (as_events and started):
            raise
        yield sse_event({"type": "error", **error.body()})
        return
    if as_events:
        usage = {"input_tokens": result.text_tokens, "output_tokens": result.num_frames}
        usage["total_tokens"] = sum(usage.values())
        yield sse_event({"type": "speech.audio.done", "usage": usage})


def delta_event(chunk: bytes) -> bytes:
    return sse_event({"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode()})


def sse_event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


__all__ = ["speech_router", "validation_error"]
