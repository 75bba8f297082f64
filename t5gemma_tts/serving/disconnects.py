"""Client disconnects: cancels the work for a client that has closed its connection."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from .errors import ServingError


logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class ClientDisconnected(ServingError):
    """The client closed its connection. No client receives this; it only sets the status in the metrics."""

    status, type, code = 499, "invalid_request_error", "client_gone"


async def run_until_disconnect(receive: Receive, work: Awaitable[Result]) -> Result:
    """
    Returns the result of `work`, or cancels it when the client disconnects first.

    Args:
        receive (callable): ASGI `receive` of a request whose body has been read.
        work (awaitable): the work for the client.

    Raises:
        ClientDisconnected: if the client disconnected.
    """
    work_task, disconnect_task = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait({work_task, disconnect_task}, return_when=asyncio.FIRST_COMPLETED)
        if work_task.done():
            return work_task.result()
        raise ClientDisconnected("the client has disconnected.")
    finally:
        work_task.cancel()
        disconnect_task.cancel()
        await asyncio.gather(work_task, disconnect_task, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class CancellableStreamingResponse(StreamingResponse):
    """
    A streaming response that stops its generator when the client disconnects.

    Args:
        first (`bytes`): first chunk of the body.
        chunks (async generator of `bytes`): further chunks; the response always closes the generator.
        kwargs: arguments of `StreamingResponse`.
    """

    def __init__(self, first: bytes, chunks: AsyncGenerator[bytes, None], **kwargs: Any):
        super().__init__(_prepend(first, chunks), **kwargs)
        self.chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.chunks):
            try:
                await run_until_disconnect(receive, self.stream_response(send))
            except ClientDisconnected:
                logger.info("a client disconnected during its stream")
            except ServingError as error:  # the status is already sent; closing the connection marks the failure
                logger.warning("a stream was aborted: %s", error)


async def _prepend(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


__all__ = ["ClientDisconnected", "CancellableStreamingResponse", "run_until_disconnect"]
