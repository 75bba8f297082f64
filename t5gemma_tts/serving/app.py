"""The FastAPI application: OpenAI's speech API, voices, batches, health and metrics."""

from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from .. import __version__
from .errors import BadRequest, NotFound, ServingError
from .middleware import RequestMiddleware, error_response
from .routes_speech import speech_router, validation_error
from .routes_status import status_router
from .routes_voices import voices_router
from .schemas import ErrorBody
from .service import Service


ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}


class MethodNotAllowed(ServingError):
    status, type, code = 405, "invalid_request_error", "method_not_allowed"


def create_app(service: Service) -> FastAPI:
    """
    The ASGI application of a [`Service`].

    The caller closes `service.synthesis` when the application has stopped. `service.drain()` makes the application
    refuse new requests; see `server`.
    """
    keys = (
        [] if service.keys is None else [Depends(HTTPBearer(auto_error=False))]
    )  # shows the field in /docs; the middleware checks keys
    app = FastAPI(
        title="T5Gemma-TTS",
        version=__version__,
        description="Text to speech with voice cloning, with OpenAI's speech API.",
        responses=ERRORS,
        redoc_url=None,
    )
    app.include_router(speech_router(service), dependencies=keys)
    app.include_router(voices_router(service), dependencies=keys)
    app.include_router(status_router(service))
    app.add_middleware(RequestMiddleware, service=service)

    @app.exception_handler(ServingError)
    async def on_serving_error(request: Request, error: ServingError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(validation_error(error.errors()))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return error_response(NotFound(f"there is no route {request.url.path[:200]}."))
        if error.status_code == 405:
            response = error_response(MethodNotAllowed(f"the method {request.method[:20]} is not allowed here."))
            response.headers.update(error.headers or {})
            return response
        return error_response(BadRequest(str(error.detail)))

    @app.exception_handler(Exception)
    async def on_unexpected_error(request: Request, error: Exception) -> JSONResponse:
        return error_response(ServingError("internal server error; see the server's log."))

    return app


__all__ = ["create_app"]
