"""Encodes shards with Ray Data on one machine or a cluster."""

import dataclasses
from collections.abc import Callable

from ..sharded.ray_pool import absolute_path, process_shards_with_ray
from .arguments import PrepareDatasetArguments


def open_shard_encoder(options: PrepareDatasetArguments) -> Callable[[int], object]:
    """Creates the function that encodes a shard in a Ray worker."""
    from .shard_encoder import ShardEncoder

    shard_encoder = ShardEncoder(options)
    return lambda shard: shard_encoder.store.is_complete(shard) or shard_encoder.encode_shard(shard)


def encode_with_ray(arguments: PrepareDatasetArguments, shards: list[int]) -> None:
    """
    Encodes `shards` in Ray workers.

    All machines must have source and output at the same paths. Shards have the same format as those of the local
    engine, so that an interrupted run can resume.

    Raises:
        ImportError: if Ray Data is missing.
        OSError: if shards cannot be encoded or written; completed shards are kept.
    """
    paths = {name: absolute_path(getattr(arguments, name)) for name in ("source", "output", "codec")}
    options = dataclasses.replace(arguments, **paths)
    for _ in process_shards_with_ray(
        open_shard_encoder, options, shards, arguments.ray_workers, use_gpus=arguments.device != "cpu"
    ):
        pass
