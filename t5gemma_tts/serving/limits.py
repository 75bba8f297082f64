"""Limits on the size of one request, and on connections."""

from dataclasses import dataclass, fields


MAX_CHARACTERS = 100_000  # splitting a text takes time and memory in proportion to its length


@dataclass(frozen=True)
class Limits:
    """
    Limits that each request must respect.

    Args:
        max_body_bytes (`int`): size of the request body.
        max_body_seconds (`float`): time in which the client must send a small body.
        min_body_rate (`float`): bytes per second of the rest of a large body: each extends the deadline.
        max_pending_bytes (`int`): size of all incomplete bodies together; small bodies are always accepted.
        max_head_seconds (`float`): time in which the client must send the headers.
        max_write_seconds (`float`): time in which the client must read a part of a response.
        max_connections_per_address (`int`): open connections of one address; one more closes the connection that has
            waited longest for a complete request.
        max_characters (`int`): length of a text, at most `MAX_CHARACTERS`.
        max_reference_bytes (`int`): size of a reference audio file.
        min_reference_seconds, max_reference_seconds (`float`): duration of a reference recording.
        max_batch_items (`int`): texts in one batch request.
        max_lexicon_entries (`int`): pronunciations in one request; 0 turns the field `lexicon` off.

    Raises:
        ValueError: if a limit is not above 0, `max_characters` is too large, or `max_lexicon_entries` is negative.
    """

    max_body_bytes: int = 16 * 2**20
    max_body_seconds: float = 10.0
    min_body_rate: float = 16 * 2**10
    max_pending_bytes: int = 256 * 2**20
    max_head_seconds: float = 10.0
    max_write_seconds: float = 60.0
    max_connections_per_address: int = 256
    max_characters: int = 4096
    max_reference_bytes: int = 10 * 2**20
    min_reference_seconds: float = 0.5
    max_reference_seconds: float = 30.0
    max_batch_items: int = 32
    max_lexicon_entries: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "max_lexicon_entries":
                if value < 0:
                    raise ValueError(f"`{field.name}` must not be negative, got {value!r}.")
            elif not value > 0:
                raise ValueError(f"`{field.name}` must be above 0, got {value!r}.")
        if self.max_characters > MAX_CHARACTERS:
            raise ValueError(f"`max_characters` must be at most {MAX_CHARACTERS}, got {self.max_characters}.")


__all__ = ["Limits"]
