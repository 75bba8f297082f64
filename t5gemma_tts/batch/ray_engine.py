"""Shards spoken by Ray Data, on one machine or a cluster."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from ..checkpoints import NANO
from ..sharded.ray_pool import absolute_path, process_shards_with_ray
from .arguments import BatchArguments


PACKAGED = ""  # in place of a path: the voice within is wherever the package is on a machine
PATHS = ("source", "output", "voices_dir", "reference_audio", "asr")


def open_work(arguments: BatchArguments) -> Callable[[int], object]:
    """Source, model and output of a worker."""
    from transformers.utils import logging

    from .shard_work import Work

    logging.disable_progress_bar()
    if arguments.model.model == PACKAGED:
        arguments = dataclasses.replace(arguments, model=dataclasses.replace(arguments.model, model=NANO))
    work = Work(arguments)
    return lambda shard: work.store.is_complete(shard) or work.speak_shard(shard)


def speak_with_ray(arguments: BatchArguments, shards: list[int]) -> Iterator[int]:
    """
    Speaks `shards` with [`process_shards_with_ray`] and yields each finished shard.

    All machines must have source, output, voices and model at the same paths, or have them from the Hub.

    Raises:
        ImportError: if Ray Data is missing.
        OSError: if shards could not be spoken or written; the others are kept.
    """
    model = arguments.model
    name = PACKAGED if model.model == NANO else absolute_path(model.model)
    codec = None if model.codec is None else absolute_path(model.codec)
    paths: dict[str, Any] = {path: absolute_path(getattr(arguments, path)) for path in PATHS}
    options = dataclasses.replace(arguments, model=dataclasses.replace(model, model=name, codec=codec), **paths)
    yield from process_shards_with_ray(
        open_work, options, shards, arguments.num_workers, arguments.gpus_per_worker, use_gpus=model.device != "cpu"
    )
