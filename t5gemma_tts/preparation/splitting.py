"""Train or validation, decided by the id of a row alone."""

import hashlib


TRAIN, VALIDATION = "train", "validation"


def id_hash(row_id: str) -> int:
    """64 bits that depend on the id only: the same on every machine, in every run and order."""
    return int.from_bytes(hashlib.sha256(row_id.encode("utf-8")).digest()[:8], "big")


def split_by_id(ids: list[str], share: float = 0.0, count: int | None = None) -> list[str]:
    """
    The split of every row.

    With a share, a row stays where it is whatever rows come and go. With a count, the rows of lowest hash validate: new
    rows can only take places, one for one.

    Args:
        ids (`list[str]`)
        share (`float`, *optional*, defaults to 0.0): Expected share of validation rows, in [0, 1).
        count (`int`, *optional*): Number of validation rows, instead of `share`.

    Raises:
        ValueError: for a share or count out of range.
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
