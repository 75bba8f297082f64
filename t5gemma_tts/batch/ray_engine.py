"""Generates shards with Ray Data, on one machine or a cluster."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from ..checkpoints import NANO
from ..sharded.ray_pool import absolute_path, process_shards_with_ray
from .arguments import BatchArguments


BUNDLED_MODEL = ""  # stands for the bundled model, whose path differs between machines
PATHS = ("source", "output", "voices_dir", "reference_audio", "asr")


def create_worker(arguments: BatchArguments) -> Callable[[int], object]:
    """Returns the function that processes a shard in a Ray worker."""
    from transformers.utils import logging

    from .worker import BatchWorker

    logging.disable_progress_bar()
    if arguments.model.model == BUNDLED_MODEL:
        arguments = dataclasses.replace(arguments, model=dataclasses.replace(arguments.model, model=NANO))
    worker = BatchWorker(arguments)
    return lambda shard: worker.store.is_complete(shard) or worker.process_shard(shard)


def synthesize_with_ray(arguments: BatchArguments, shards: list[int]) -> Iterator[int]:
    """
    Speaks `shards` with [`process_shards_with_ray`] and yields each finished shard.

    All machines must have source, output, voices and model at the same paths, or have them from the Hub.

    Raises:
        ImportError: if Ray Data is missing.
        OSError: if shards cannot be generated or written; completed shards are kept.
    """
    model = arguments.model
    name = BUNDLED_MODEL if model.model == NANO else absolute_path(model.model)
    codec = None if model.codec is None else absolute_path(model.codec)
    paths: dict[str, Any] = {path: absolute_path(getattr(arguments, path)) for path in PATHS}
    options = dataclasses.replace(arguments, model=dataclasses.replace(model, model=name, codec=codec), **paths)
    yield from process_shards_with_ray(
        create_worker, options, shards, arguments.num_workers, arguments.gpus_per_worker, use_gpus=model.device != "cpu"
    )
