"""Splits rows into train and validation by a hash of their ids."""

import hashlib


TRAIN, VALIDATION = "train", "validation"


def id_hash(row_id: str) -> int:
    """Returns a 64-bit hash of the id that is the same on all machines and in all runs."""
    return int.from_bytes(hashlib.sha256(row_id.encode("utf-8")).digest()[:8], "big")


def split_by_id(ids: list[str], share: float = 0.0, count: int | None = None) -> list[str]:
    """
    Assigns each row to the train or validation split.

    With `share`, the split of a row does not depend on other rows. With `count`, the rows with the lowest hashes are
    used for validation, so that each added row changes the split of at most one other row.

    Args:
        ids (`list[str]`)
        share (`float`, *optional*, defaults to 0.0): Expected fraction of validation rows, in [0, 1).
        count (`int`, *optional*): Number of validation rows, instead of `share`.

    Returns:
        `list[str]`: "train" or "validation" per row.

    Raises:
        ValueError: if `share` or `count` is out of range.
    """
    if count is not None:
        if not 0 <= count < max(len(ids), 1):
            raise ValueError(f"`validation_count` must be from 0 to below the number of rows, {len(ids)}; got {count}.")
        chosen = set(sorted(range(len(ids)), key=lambda row: (id_hash(ids[row]), ids[row]))[:count])
        return [VALIDATION if row in chosen else TRAIN for row in range(len(ids))]
    if not 0 <= share < 1:
        raise ValueError(f"`validation_share` must be in [0, 1), got {share}.")
    limit = int(share * 2**64)
    return [VALIDATION if id_hash(row_id) < limit else TRAIN for row_id in ids]
