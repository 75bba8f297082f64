"""Middleware in front of all routes: API keys, limits on request bodies, and request metrics."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import PayloadTooLarge, QueueFull, RequestTimeout, ServingError, ShuttingDown, Unauthorized
from .service import Service


STATUS_PATHS = ("/health", "/ready", "/metrics")
PUBLIC_PATHS = ("/health", "/ready", "/docs", "/openapi.json")
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
OTHER = "other"  # metric label for unknown paths and methods, so that clients cannot create labels
MAX_CONTENT_LENGTH_DIGITS = 15
RETRY_AFTER_SHUTDOWN_SECONDS = 10


def error_response(error: ServingError) -> JSONResponse:
    """The JSON response for an error, with the headers that its status needs."""
    headers = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if error.status == Unauthorized.status:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in (ShuttingDown.status, PayloadTooLarge.status, RequestTimeout.status):
        headers["Connection"] = "close"
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


class RequestMiddleware:
    """
    ASGI middleware that rejects a request before it reaches a route: while the server shuts down, without a valid API
    key, or with a body that is too large or too slow. It also records the request's metrics.
    """

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def recording_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        is_status = scope["path"] in STATUS_PATHS
        try:
            if not is_status:
                self.service.request_started()
            if (rejection := self._check(scope, is_status)) is not None:
                if isinstance(rejection, PayloadTooLarge):
                    await self._discard_body(receive)
                await error_response(rejection)(scope, receive, recording_send)
            else:
                await self._forward(scope, receive, recording_send)
        finally:
            if not is_status:
                self.service.request_ended()
            route = scope.get("route")
            path = OTHER if route is None else route.path
            method = scope["method"] if scope["method"] in METHODS else OTHER
            self.service.metrics.record_response(method, path, status, time.monotonic() - started)

    def _check(self, scope: Scope, is_status: bool) -> ServingError | None:
        service, headers = self.service, Headers(scope=scope)
        if service.draining and not is_status:
            return ShuttingDown("the server is shutting down.", retry_after_seconds=RETRY_AFTER_SHUTDOWN_SECONDS)
        if service.num_open_requests > service.max_open_requests:
            return QueueFull(
                f"{service.max_open_requests} requests are open already; try again later.", retry_after_seconds=1
            )
        if service.keys is not None and scope["path"] not in PUBLIC_PATHS:
            if not service.keys.allows(headers.get("authorization", "").encode("latin-1")):
                return Unauthorized("an API key is needed: `Authorization: Bearer KEY`.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > MAX_CONTENT_LENGTH_DIGITS:
            return self._too_large()
        if int(length) > service.limits.max_body_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"a request body must have at most {self.service.limits.max_body_bytes} bytes.")

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self.service.limits
        left, more, answered = limits.max_body_bytes, True, False
        rejection: ServingError | None = None
        deadline = time.monotonic() + limits.max_body_seconds

        async def limited_receive() -> Message:
            nonlocal left, more, rejection
            if not more:  # after the body, only the disconnect can come
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0, deadline - time.monotonic()))
            except TimeoutError as error:
                rejection = RequestTimeout(f"a request body must arrive within {limits.max_body_seconds} seconds.")
                raise rejection from error
            more = message.get("more_body", False)
            left -= len(message.get("body", b""))
            if left < 0:
                rejection = self._too_large()
                raise rejection
            return message

        async def guarded_send(message: Message) -> None:
            nonlocal answered
            if rejection is not None and not answered:  # replaced by the rejection below
                return
            answered = True
            await send(message)

        try:
            await self.app(scope, limited_receive, guarded_send)
        except (PayloadTooLarge, RequestTimeout):
            if answered:
                raise
        if rejection is not None and not answered:
            if more and isinstance(rejection, PayloadTooLarge):
                await self._discard_body(receive)
            await error_response(rejection)(scope, receive, send)

    async def _discard_body(self, receive: Receive) -> None:
        """Reads up to one more body limit: many clients read the response only after they have sent the whole body."""
        left = self.service.limits.max_body_bytes
        deadline = time.monotonic() + self.service.limits.max_body_seconds
        while left >= 0:
            try:
                message = await asyncio.wait_for(receive(), max(0, deadline - time.monotonic()))
            except TimeoutError:
                return
            left -= len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                return


__all__ = ["RequestMiddleware", "error_response"]
