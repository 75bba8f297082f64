"""Processes shards with a pool of Ray Data actors, on one machine or a cluster."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, overload


Options = TypeVar("Options")
MAX_TASKS = 4096  # Ray Data creates all tasks at the start; more shards than this share tasks
logger = logging.getLogger(__name__)


def import_ray() -> ModuleType:
    """
    Imports Ray with Ray Data.

    Raises:
        ImportError: if Ray Data is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("`engine` ray needs `pip install 'ray[data]'`.") from error
    return ray


class ShardActor:
    """Ray actor that processes shards; it creates its worker, which loads the model, once."""

    def __init__(self, create_worker: Callable[[Options], Callable[[int], object]], options: Options):
        self.process_shard = create_worker(options)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        # errors are returned, because Ray would wrap a raised one in its own exception and stop the job
        return {"shard": batch["shard"], "error": [self._process(int(shard)) for shard in batch["shard"]]}

    def _process(self, shard: int) -> str:
        """Processes a shard and returns its error message, or an empty string."""
        try:
            self.process_shard(shard)
        except Exception as error:  # the other shards are still processed
            logger.exception("shard %d failed", shard)
            return f"{shard}: {error}"
        return ""


def process_shards_with_ray(
    create_worker: Callable[[Options], Callable[[int], object]],
    options: Options,
    shards: list[int],
    num_workers: int | None = None,
    gpus_per_worker: float | None = None,
    use_gpus: bool = True,
) -> Iterator[int]:
    """
    Processes `shards` on the running Ray cluster, or on one that it starts on this machine. Yields each finished shard.

    If a worker or its machine dies, Ray gives its shard to another worker. A finished shard may be given out again, so
    processing a shard twice must be harmless.

    Args:
        create_worker (callable): Called once per Ray worker with `options`; returns the function that processes a
            shard. It must be importable on all machines.
        options: Argument of `create_worker`; must be picklable.
        shards (`list[int]`): Shards to process.
        num_workers (`int`, *optional*): Maximum number of workers; the pool starts with one. By default, as many as the
            GPUs (or CPUs, if workers use no GPU) of the cluster allow.
        gpus_per_worker (`float`, *optional*): GPUs of a worker. By default 1 if `use_gpus` is set and the cluster has
            GPUs, else 0. A worker without a GPU takes one CPU.
        use_gpus (`bool`): Whether the default of `gpus_per_worker` may be 1.

    Raises:
        ImportError: if Ray Data is not installed.
        OSError: if shards failed; raised after all others have been processed.
    """
    ray = import_ray()
    started_here = not ray.is_initialized()
    if started_here:
        # workers import the package from the same place as this process
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        ray.init(runtime_env={"env_vars": {"PYTHONPATH": path}}, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    had_progress_bars, context.enable_progress_bars = context.enable_progress_bars, False
    errors = []
    try:
        resources = ray.cluster_resources()
        if gpus_per_worker is None:
            gpus_per_worker = 1 if use_gpus and resources.get("GPU", 0) >= 1 else 0
        if num_workers is None:
            capacity = resources.get("GPU", 0) / gpus_per_worker if gpus_per_worker else resources["CPU"]
            num_workers = max(1, int(capacity))
        num_tasks = min(len(shards), MAX_TASKS)
        results = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=num_tasks)
        results = results.map_batches(
            ShardActor,
            fn_constructor_args=(create_worker, options),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(len(shards), num_workers)),
            **({"num_gpus": gpus_per_worker} if gpus_per_worker else {"num_cpus": 1}),
        )
        for row in results.iter_rows():
            if row["error"]:
                errors.append(row["error"])
            else:
                yield row["shard"]
    finally:
        context.enable_progress_bars = had_progress_bars
        if started_here:
            ray.shutdown()
    if errors:
        raise OSError(f"{len(errors)} of {len(shards)} shards failed, first shard {errors[0]}")


@overload
def absolute_path(name: str) -> str: ...


@overload
def absolute_path(name: None) -> None: ...


def absolute_path(name: str | None) -> str | None:
    """Makes an existing path absolute, because Ray workers have another working folder. Hub names are unchanged."""
    return str(Path(name).resolve()) if name is not None and Path(name).exists() else name
