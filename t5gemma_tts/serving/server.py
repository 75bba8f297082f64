"""Runs the application. On SIGTERM or Ctrl-C it refuses new requests, answers those it has accepted, and exits.

Requests that hang do not delay the exit: it comes at most `drain_seconds`, `CONNECTION_CLOSE_SECONDS` and
`THREAD_CLOSE_SECONDS` after the signal.
"""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from .app import create_app
from .connections import ConnectionGuard
from .service import Service


CONNECTION_CLOSE_SECONDS = 5  # time for responses to reach their clients after the service has drained
THREAD_CLOSE_SECONDS = 5  # time for threads to finish after the connections are closed


logger = logging.getLogger(__name__)


def bind_socket(host: str, port: int) -> socket.socket:
    """
    Binds a TCP socket; port 0 takes any free port. Clients can connect only when the server runs.

    Raises:
        OSError: if the address is not available; the message names it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise OSError(f"cannot listen at {host}, port {port}: {error}.") from error
    return listener


class Server(uvicorn.Server):
    """
    The HTTP server. The first signal drains the service, the second one stops it at once.

    Args:
        service ([`Service`]): state of the application.
        drain_seconds (`float`): time after the first signal in which accepted requests may finish.
        options: arguments of `uvicorn.Config`.
    """

    def __init__(self, service: Service, drain_seconds: float = 120.0, **options: Any):
        self.guard = ConnectionGuard(service.limits)
        super().__init__(
            uvicorn.Config(
                create_app(service),
                http=self.guard.protocol(),
                timeout_graceful_shutdown=CONNECTION_CLOSE_SECONDS,
                **options,
            )
        )
        self.service, self.drain_seconds = service, drain_seconds
        self.loop: asyncio.AbstractEventLoop | None = None
        self.on_first_signal: Callable[[], None] | None = None
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await self.service.synthesis.warm_up()
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            print(f"listening at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.guard.close_waiting()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.on_first_signal is not None:
            self.on_first_signal()
            self.on_first_signal = None
        if self._draining is None and self.started and self.loop is not None:
            self.loop.call_soon_threadsafe(self.drain)
        else:
            self.should_exit = self.force_exit = True

    def drain(self) -> None:
        """Starts to drain, as the first signal does. Call it in the event loop's thread."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        try:
            await asyncio.wait_for(self.service.drain(), self.drain_seconds)
        except TimeoutError:
            self.service.synthesis.worker.close(finish=False, timeout=0)
        self.should_exit = True


def serve(service: Service, listener: socket.socket, drain_seconds: float = 120.0, **options: Any) -> None:
    """Serves on a bound socket until a signal arrives and the accepted requests have been answered."""
    server = Server(service, drain_seconds, **options)
    server.on_first_signal = lambda: exit_after(drain_seconds + CONNECTION_CLOSE_SECONDS + THREAD_CLOSE_SECONDS)
    try:
        server.run(sockets=[listener])
    finally:
        service.synthesis.close(finish=False, timeout=THREAD_CLOSE_SECONDS)


def exit_after(seconds: float) -> None:
    """Ends the process after `seconds` with exit code 1, if it has not ended by then: a thread may hang."""

    def end() -> None:
        logger.error("the server did not stop within %.0f seconds; the process ends now", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


__all__ = ["Server", "bind_socket", "serve"]
