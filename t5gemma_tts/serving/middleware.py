"""Middleware in front of all routes: API keys, limits on request bodies and on the number of requests, and metrics."""

import time

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .bodies import RequestBody, check_content_length, shutting_down
from .errors import PayloadTooLarge, RequestTimeout, ServingError, ShuttingDown, Unauthorized
from .service import Service


STATUS_PATHS = ("/health", "/ready", "/metrics")
PUBLIC_PATHS = ("/health", "/ready", "/docs", "/openapi.json")
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
OTHER = "other"  # metric label for unknown paths and methods, so that clients cannot create labels


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
    key, with a body that is too large or too slow, or if too many requests are open. It also records the request's
    metrics.
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

        body = RequestBody(self.service, scope, receive, is_counted=scope["path"] not in STATUS_PATHS)
        try:
            await self._answer(scope, body, recording_send)
        finally:
            body.close()
            route = scope.get("route")
            path = OTHER if route is None else route.path
            method = scope["method"] if scope["method"] in METHODS else OTHER
            self.service.metrics.record_response(method, path, status, time.monotonic() - started)

    async def _answer(self, scope: Scope, body: RequestBody, send: Send) -> None:
        answered = False

        async def guarded_send(message: Message) -> None:
            nonlocal answered
            if body.rejection is not None and not answered:  # replaced by the rejection below
                return
            answered = True
            await send(message)

        rejection = self._check(scope) or body.rejection
        if rejection is None:
            try:
                await self.app(scope, body.receive, guarded_send)
            except ServingError as error:
                if answered or error is not body.rejection:
                    raise
            rejection = body.rejection
        if rejection is None or answered:
            return
        response = error_response(rejection)
        if not isinstance(rejection, PayloadTooLarge) or body.is_complete:
            await response(scope, body.receive, send)
            return

        async def unfinished_send(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        await response(scope, body.receive, unfinished_send)  # whole, but the connection stays open for the body
        await body.discard()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _check(self, scope: Scope) -> ServingError | None:
        """Checks what is known from the headers."""
        service = self.service
        if service.draining and scope["path"] not in STATUS_PATHS:
            return shutting_down()
        if service.keys is not None and scope["path"] not in PUBLIC_PATHS:
            if not service.keys.allows(Headers(scope=scope).get("authorization", "").encode("latin-1")):
                return Unauthorized("an API key is needed: `Authorization: Bearer KEY`.")
        return check_content_length(service, scope)


__all__ = ["RequestMiddleware", "error_response"]
