"""Errors of a request, each with the HTTP status and the error code of OpenAI's API."""


class ServingError(Exception):
    """
    Args:
        message (`str`): for the one who asked.
        param (`str`, *optional*): the field that is at fault.
        retry_after_seconds (`int`, *optional*): when it may work.
    """

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(self, message: str, param: str | None = None, retry_after_seconds: int | None = None):
        super().__init__(message)
        self.message, self.param, self.retry_after_seconds = message, param, retry_after_seconds

    def body(self) -> dict[str, dict[str, str | None]]:
        """In OpenAI's shape, fit for JSON even if the message quotes half a surrogate pair."""
        message = self.message.encode("utf-8", "backslashreplace").decode()
        return {"error": {"message": message, "type": self.type, "param": self.param, "code": self.code}}


class BadRequest(ServingError, ValueError):
    status, type, code = 400, "invalid_request_error", "invalid_value"


class Unauthorized(ServingError):
    status, type, code = 401, "invalid_request_error", "invalid_api_key"


class NotFound(ServingError, LookupError):
    status, type, code = 404, "invalid_request_error", "not_found"


class TooSlow(ServingError, TimeoutError):
    status, type, code = 408, "invalid_request_error", "too_slow"


class Conflict(ServingError):
    status, type, code = 409, "invalid_request_error", "already_exists"


class TooLarge(ServingError, ValueError):
    status, type, code = 413, "invalid_request_error", "too_large"


class QueueFull(ServingError):
    status, type, code = 429, "rate_limit_error", "queue_full"


class Closed(ServingError):
    status, type, code = 503, "server_error", "shutting_down"


class DeadlineExceeded(ServingError, TimeoutError):
    status, type, code = 504, "server_error", "deadline_exceeded"


class SpeechFailed(ServingError):
    status, type, code = 500, "server_error", "speech_failed"


class Cancelled(ServingError):
    """Nobody is told of it but who still waits for a speech that somebody else gave up."""

    status, type, code = 499, "invalid_request_error", "cancelled"


__all__ = [
    "BadRequest",
    "Cancelled",
    "Closed",
    "Conflict",
    "DeadlineExceeded",
    "NotFound",
    "QueueFull",
    "ServingError",
    "SpeechFailed",
    "TooLarge",
    "TooSlow",
    "Unauthorized",
]
