"""Reads request bodies within limits on size, time and memory. A request counts from when its body is complete."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from .errors import PayloadTooLarge, QueueFull, RequestTimeout, ServingError, ShuttingDown
from .service import Service


SMALL_BODY_BYTES = 64 * 2**10  # accepted even if many large bodies are incomplete
MAX_CONTENT_LENGTH_DIGITS = 15
RETRY_AFTER_SHUTDOWN_SECONDS = 10


class RequestBody:
    """
    The body of a request. `close` must follow.

    Args:
        service ([`Service`]): state of the server, which counts the request when the body is complete.
        scope, receive: those of the ASGI application.
        is_counted (`bool`): whether the request counts; it is refused if too many are open, or while the server drains.
    """

    def __init__(self, service: Service, scope: Scope, receive: Receive, is_counted: bool):
        self.service = service
        self.rejection: ServingError | None = None
        self.is_complete = False
        self._receive, self._is_counted = receive, is_counted
        self._num_bytes = 0
        self._counted, self._is_pending = False, True
        self._began = time.monotonic()
        headers = Headers(scope=scope)
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            self._complete()

    async def receive(self) -> Message:
        """
        ASGI `receive` with limits. When a limit is exceeded, `rejection` has the error.

        Raises:
            PayloadTooLarge, QueueFull, RequestTimeout, ShuttingDown: the `rejection`.
        """
        if self.is_complete:  # the empty body of a request without one, or the disconnect
            return await self._receive()
        message = await self._receive_in_time()
        if message["type"] == "http.disconnect":
            return message
        self._add(len(message.get("body", b"")))
        if self.rejection is None and not message.get("more_body", False):
            self._complete()
        if self.rejection is not None:
            raise self.rejection
        return message

    async def discard(self) -> None:
        """
        Reads up to one more body limit: many clients read the response only after they have sent the whole body.
        """
        self._release()
        left = self.service.limits.max_body_bytes
        while left >= 0:
            try:
                message = await self._receive_in_time()
            except RequestTimeout:
                return
            num_bytes = len(message.get("body", b""))
            left -= num_bytes
            self._num_bytes += num_bytes  # they extend the deadline
            if message["type"] != "http.request" or not message.get("more_body"):
                return

    def close(self) -> None:
        """Ends the request."""
        self._release()
        if self._counted:
            self._counted = False
            self.service.request_ended()

    async def _receive_in_time(self) -> Message:
        limits = self.service.limits
        deadline = self._began + limits.max_body_seconds + self._num_bytes / limits.min_body_rate
        try:
            return await asyncio.wait_for(self._receive(), max(0, deadline - time.monotonic()))
        except TimeoutError as error:
            self.rejection = RequestTimeout(
                f"a request body must arrive within {limits.max_body_seconds} seconds, or at "
                f"{limits.min_body_rate:.0f} bytes per second."
            )
            raise self.rejection from error

    def _add(self, num_bytes: int) -> None:
        service = self.service
        self._num_bytes += num_bytes
        service.num_pending_bytes += num_bytes
        if self._num_bytes > service.limits.max_body_bytes:
            self._release()
            self.rejection = too_large(service)
        elif self._num_bytes > SMALL_BODY_BYTES and service.num_pending_bytes > service.limits.max_pending_bytes:
            self._release()
            self.rejection = QueueFull(
                "too many large requests are being sent; try again later.", retry_after_seconds=1
            )

    def _complete(self) -> None:
        self.is_complete = True
        self._release()
        if not self._is_counted:
            return
        service = self.service
        if service.draining:
            self.rejection = shutting_down()
        elif service.num_open_requests >= service.max_open_requests:
            self.rejection = QueueFull(
                f"{service.max_open_requests} requests are open already; try again later.", retry_after_seconds=1
            )
        else:
            self._counted = True
            service.request_started()

    def _release(self) -> None:
        """Takes the bytes out of the sum of incomplete bodies."""
        if self._is_pending:
            self._is_pending = False
            self.service.num_pending_bytes -= self._num_bytes


def check_content_length(service: Service, scope: Scope) -> ServingError | None:
    """The error for a `Content-Length` that is above the limit."""
    length = Headers(scope=scope).get("content-length", "0")
    if length.isdecimal() and len(length) <= MAX_CONTENT_LENGTH_DIGITS and int(length) <= service.limits.max_body_bytes:
        return None
    return too_large(service)


def too_large(service: Service) -> PayloadTooLarge:
    return PayloadTooLarge(f"a request body must have at most {service.limits.max_body_bytes} bytes.")


def shutting_down() -> ShuttingDown:
    return ShuttingDown("the server is shutting down.", retry_after_seconds=RETRY_AFTER_SHUTDOWN_SECONDS)


__all__ = ["RequestBody", "check_content_length", "shutting_down", "too_large"]
