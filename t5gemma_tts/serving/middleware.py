"""Middleware in front of all routes: API keys, limits on request bodies, and request metrics."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import PayloadTooLarge, QueueFull, RequestTimeout, ServingError, ShuttingDown, Unauthorized
from .service import Service


STATUS_PATHS = ("/health", "/ready", "/metrics")
OPEN_PATHS = ("/health", "/ready", "/docs", "/openapi.json")
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
OTHER = "other"  # of names that clients make up, so that there are few
MOST_DIGITS = 15
RETRY_AFTER_SHUTDOWN_SECONDS = 10


def error_response(error: ServingError) -> JSONResponse:
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
    ASGI middleware. Refuses while the server shuts down, without a key, and bodies beyond the limit, before any of it
    reaches a route.
    """

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        is_status = scope["path"] in STATUS_PATHS
        try:
            if not is_status:
                self.service.opened()
            if (refusal := self._refusal(scope, is_status)) is not None:
                if isinstance(refusal, PayloadTooLarge):
                    await self._read_away(receive)
                await error_response(refusal)(scope, receive, noting_send)
            else:
                await self._let_in(scope, receive, noting_send)
        finally:
            if not is_status:
                self.service.closed()
            route = scope.get("route")
            path = OTHER if route is None else route.path
            method = scope["method"] if scope["method"] in METHODS else OTHER
            self.service.metrics.answered(method, path, status, time.monotonic() - began)

    def _refusal(self, scope: Scope, is_status: bool) -> ServingError | None:
        service, headers = self.service, Headers(scope=scope)
        if service.draining and not is_status:
            return ShuttingDown("the server is shutting down.", retry_after_seconds=RETRY_AFTER_SHUTDOWN_SECONDS)
        if service.num_open > service.max_open:
            return QueueFull(f"{service.max_open} requests are open already.", retry_after_seconds=1)
        if service.keys is not None and scope["path"] not in OPEN_PATHS:
            if not service.keys.allows(headers.get("authorization", "").encode("latin-1")):
                return Unauthorized("an API key is needed: `Authorization: Bearer KEY`.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > MOST_DIGITS or int(length) > service.limits.max_body_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"a request must have at most {self.service.limits.max_body_bytes} bytes.")

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self.service.limits
        left, more, answered = limits.max_body_bytes, True, False
        refusal: ServingError | None = None
        deadline = time.monotonic() + limits.max_body_seconds

        async def counting_receive() -> Message:
            nonlocal left, more, refusal
            if not more:  # it only waits for the client to leave
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0, deadline - time.monotonic()))
            except asyncio.TimeoutError as error:
                refusal = RequestTimeout(f"a request must come within {limits.max_body_seconds} seconds.")
                raise refusal from error
            more = message.get("more_body", False)
            left -= len(message.get("body", b""))
            if left < 0:
                refusal = self._too_large()
                raise refusal
            return message

        async def checked_send(message: Message) -> None:
            nonlocal answered
            if refusal is not None and not answered:  # whatever the route makes of it, this is what was wrong
                return
            answered = True
            await send(message)

        try:
            await self.app(scope, counting_receive, checked_send)
        except (PayloadTooLarge, RequestTimeout):
            if answered:
                raise
        if refusal is not None and not answered:
            if more and isinstance(refusal, PayloadTooLarge):
                await self._read_away(receive)
            await error_response(refusal)(scope, receive, send)

    async def _read_away(self, receive: Receive) -> None:
        """Once more as much as is allowed: many clients only look for an answer when they have sent everything."""
        left = self.service.limits.max_body_bytes
        deadline = time.monotonic() + self.service.limits.max_body_seconds
        while left >= 0:
            try:
                message = await asyncio.wait_for(receive(), max(0, deadline - time.monotonic()))
            except asyncio.TimeoutError:
                return
            left -= len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                return


__all__ = ["RequestMiddleware", "error_response"]
