"""Client disconnects: work for a client that has gone is cancelled."""

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
    """Answered to nobody; it is only for the books."""

    status, type, code = 499, "invalid_request_error", "client_gone"


async def until_disconnect(receive: Receive, work: Awaitable[Result]) -> Result:
    """
    The result of `work`, which is cancelled if the client leaves first.

    Args:
        receive (callable): ASGI's, of a request whose body has been read.
        work (awaitable)

    Raises:
        ClientDisconnected: if it did.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnected("the client has gone.")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class LiveResponse(StreamingResponse):
    """
    Sends pieces as they come, until they end or the client leaves.

    Args:
        first (`bytes`), pieces (async generator of `bytes`): what is sent; `pieces` is closed in any case.
        kwargs: as of `StreamingResponse`.
    """

    def __init__(self, first: bytes, pieces: AsyncGenerator[bytes, None], **kwargs: Any):
        super().__init__(_all(first, pieces), **kwargs)
        self.pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.pieces):
            try:
                await until_disconnect(receive, self.stream_response(send))
            except ClientDisconnected:
                logger.info("a client left in the middle of its stream")
            except ServingError as error:  # too late for another status: the connection breaks off, unfinished
                logger.warning("a stream broke off: %s", error)


async def _all(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


__all__ = ["ClientDisconnected", "LiveResponse", "until_disconnect"]
