"""Limits on the size of one request."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """
    Args:
        max_body_bytes (`int`): of a request as it comes.
        max_body_seconds (`float`): until all of it has come.
        max_characters (`int`): of a text.
        max_reference_bytes (`int`): of an audio file.
        min_reference_seconds, max_reference_seconds (`float`): of what it holds.
        max_batch_items (`int`): texts in one request.
    """

    max_body_bytes: int = 16 * 2**20
    max_body_seconds: float = 60.0
    max_characters: int = 4096
    max_reference_bytes: int = 10 * 2**20
    min_reference_seconds: float = 0.5
    max_reference_seconds: float = 30.0
    max_batch_items: int = 32

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"`{field.name}` must be above 0, got {value!r}.")


__all__ = ["Limits"]
