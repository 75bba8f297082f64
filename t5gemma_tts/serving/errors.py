"""Errors that the server reports to clients. Each class has an HTTP status, and OpenAI's error type and code."""


class ServingError(Exception):
    """
    Base class of the errors in this module.

    Args:
        message (`str`): message for the client.
        param (`str`, *optional*): name of the request field that is wrong.
        retry_after_seconds (`int`, *optional*): value of the `Retry-After` header.
    """

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(self, message: str, param: str | None = None, retry_after_seconds: int | None = None):
        super().__init__(message)
        self.message, self.param, self.retry_after_seconds = message, param, retry_after_seconds

    def body(self) -> dict[str, dict[str, str | None]]:
        """The response body in OpenAI's format. Lone surrogates are escaped, because JSON in UTF-8 cannot hold them."""
        message = self.message.encode("utf-8", "backslashreplace").decode()
        return {"error": {"message": message, "type": self.type, "param": self.param, "code": self.code}}


class BadRequest(ServingError, ValueError):
    status, type, code = 400, "invalid_request_error", "invalid_value"


class Unauthorized(ServingError):
    status, type, code = 401, "invalid_request_error", "invalid_api_key"


class NotFound(ServingError, LookupError):
    status, type, code = 404, "invalid_request_error", "not_found"


class RequestTimeout(ServingError, TimeoutError):
    """The client sent its request body too slowly."""

    status, type, code = 408, "invalid_request_error", "too_slow"


class Conflict(ServingError):
    status, type, code = 409, "invalid_request_error", "already_exists"


class PayloadTooLarge(ServingError, ValueError):
    status, type, code = 413, "invalid_request_error", "too_large"


class QueueFull(ServingError):
    status, type, code = 429, "rate_limit_error", "queue_full"


class ShuttingDown(ServingError):
    status, type, code = 503, "server_error", "shutting_down"


class DeadlineExceeded(ServingError, TimeoutError):
    status, type, code = 504, "server_error", "deadline_exceeded"


class SpeechFailed(ServingError):
    """The model raised an error."""

    status, type, code = 500, "server_error", "speech_failed"


class Cancelled(ServingError):
    """A task was cancelled. No client receives this; it ends the futures that still wait for the task."""

    status, type, code = 499, "invalid_request_error", "cancelled"


__all__ = [
    "BadRequest",
    "Cancelled",
    "Conflict",
    "DeadlineExceeded",
    "NotFound",
    "PayloadTooLarge",
    "QueueFull",
    "RequestTimeout",
    "ServingError",
    "ShuttingDown",
    "SpeechFailed",
    "Unauthorized",
]
