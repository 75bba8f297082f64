"""Shards encoded by Ray Data, on one machine or a cluster."""

import dataclasses
from collections.abc import Callable

from ..sharded.ray_pool import absolute, work_with_ray
from .arguments import PrepareDatasetArguments


def open_work(options: PrepareDatasetArguments) -> Callable[[int], object]:
    """Source, codec and output of a worker."""
    from .shard_work import Work

    work = Work(options)
    return lambda shard: work.store.is_complete(shard) or work.encode_shard(shard)


def encode_with_ray(arguments: PrepareDatasetArguments, shards: list[int]) -> None:
    """
    Encodes `shards` as `work_with_ray` does it. All machines must see source and output at the same paths; the shards
    on disk are those of the local engine, and as safe to resume.

    Raises:
        ImportError: if Ray Data is missing.
        OSError: if shards could not be encoded or written; the others are kept.
    """
    places = {name: absolute(getattr(arguments, name)) for name in ("source", "output", "codec")}
    options = dataclasses.replace(arguments, **places)
    for _ in work_with_ray(open_work, options, shards, arguments.ray_workers, use_gpus=arguments.device != "cpu"):
        pass
