"""Limits on connections, so that clients that hang cannot lock out others.

A connection waits while it has no complete request. Waiting connections have a deadline for the headers, and make room
when their address has too many. `middleware` has the deadline for bodies.
"""

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from .limits import Limits


class ConnectionGuard:
    """
    The open connections of a server. Call it in the event loop's thread only.

    Args:
        limits ([`Limits`]): limits on connections.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self._by_address: dict[str, set[GuardedProtocol]] = {}

    @property
    def num_open(self) -> int:
        """Number of open connections."""
        return sum(map(len, self._by_address.values()))

    def protocol(self) -> type["GuardedProtocol"]:
        """The protocol class of the server, for uvicorn."""
        return type("BoundProtocol", (GuardedProtocol,), {"guard": self})

    def add(self, connection: "GuardedProtocol") -> bool:
        """
        Adds a connection. If its address has too many, the one that has waited longest is closed.

        Returns:
            `bool`: False if the address has too many, and none of them waits.
        """
        others = self._by_address.setdefault(connection.address, set())
        if len(others) >= self.limits.max_connections_per_address:
            waiting = [other for other in others if other.waits]
            if not waiting:
                return False
            longest = min(waiting, key=lambda other: other.waiting_since)
            others.discard(longest)
            longest.abort()
        others.add(connection)
        return True

    def discard(self, connection: "GuardedProtocol") -> None:
        """Removes a connection that is closed."""
        others = self._by_address.get(connection.address, set())
        others.discard(connection)
        if not others:
            self._by_address.pop(connection.address, None)

    def close_waiting(self) -> None:
        """Closes the connections that have no complete request."""
        for connection in [one for others in self._by_address.values() for one in others if one.waits]:
            connection.abort()


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with the limits of a [`ConnectionGuard`]."""

    guard: ConnectionGuard

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.address = ""
        self.waiting_since = 0.0
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    @property
    def waits_for_head(self) -> bool:
        """Whether the headers of the next request are not complete."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits(self) -> bool:
        """Whether there is no complete request to answer."""
        return self.waits_for_head or self.cycle.more_body

    def abort(self) -> None:
        """Closes the connection at once."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.waiting_since = time.monotonic()
        if self.guard.add(self):
            self._watch_head()
        else:
            transport.write(_head("429 Too Many Requests", "Retry-After: 1\r\n"))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        self.waiting_since = time.monotonic()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._forget()  # another protocol takes over the connection
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.guard.limits.max_write_seconds, self.abort)

    def resume_writing(self) -> None:
        _cancel(self._write_timer)
        self._write_timer = None
        super().resume_writing()

    def _forget(self) -> None:
        self.guard.discard(self)
        _cancel(self._head_timer)
        _cancel(self._write_timer)
        self._head_timer = self._write_timer = None

    def _watch_head(self) -> None:
        """Starts the deadline of the headers, or ends it when they are complete."""
        if not self.waits_for_head or self.transport.is_closing():
            _cancel(self._head_timer)
            self._head_timer = None
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.guard.limits.max_head_seconds, self._on_late_head)

    def _on_late_head(self) -> None:
        self._head_timer = None
        if self.waits_for_head and not self.transport.is_closing():
            if self.cycle is None:
                self.transport.write(_head("408 Request Timeout"))
            self.transport.close()


def _head(status: str, header: str = "") -> bytes:
    """An HTTP response without a body."""
    return f"HTTP/1.1 {status}\r\n{header}Connection: close\r\nContent-Length: 0\r\n\r\n".encode()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


__all__ = ["ConnectionGuard", "GuardedProtocol"]
