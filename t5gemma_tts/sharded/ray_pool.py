"""Shards worked on by a pool of Ray Data's actors, on one machine or a cluster."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, overload


Options = TypeVar("Options")
MOST_TASKS = 4096  # of one or more shards each: all of them are known from the beginning
logger = logging.getLogger(__name__)


def import_ray() -> ModuleType:
    """
    Raises:
        ImportError: if Ray Data is missing.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("`engine` ray needs `pip install 'ray[data]'`.") from error
    return ray


class ShardActor:
    """Works on the shards it is given; what it needs is opened once."""

    def __init__(self, open_work: Callable[[Options], Callable[[int], object]], options: Options):
        self.work_on = open_work(options)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        # returned, as Ray hides what an actor raises behind an error of its own
        return {"shard": batch["shard"], "problem": [self._problem(int(shard)) for shard in batch["shard"]]}

    def _problem(self, shard: int) -> str:
        try:
            self.work_on(shard)
        except Exception as error:  # of one shard; the others shall be done
            logger.exception("shard %d has failed", shard)
            return f"{shard}: {error}"
        return ""


def work_with_ray(
    open_work: Callable[[Options], Callable[[int], object]],
    options: Options,
    shards: list[int],
    num_workers: int | None = None,
    gpus_per_worker: float | None = None,
    use_gpus: bool = True,
) -> Iterator[int]:
    """
    Works on `shards` on the Ray cluster that is running, or on one started for it on this machine, and yields each as
    it ends. A shard whose worker or machine dies is given to another one, and now and then one that was finished.

    Args:
        open_work (callable): called once in every worker with `options`; what it returns is called with each shard. A
            function of a module that all machines have.
        options: what it needs, for pickling.
        shards (`list[int]`)
        num_workers (`int`, *optional*): that there may be at most; the pool grows from one to as many. All that the
            cluster has GPUs for, or CPUs if they use none, if not given.
        gpus_per_worker (`float`, *optional*): 1 where the cluster has any and `use_gpus`, else 0: then it is a CPU.

    Raises:
        ImportError: if Ray Data is missing.
        OSError: if shards could not be worked on; after all others.
    """
    ray = import_ray()
    started_here = not ray.is_initialized()
    if started_here:
        # workers find the code as this process does
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        ray.init(runtime_env={"env_vars": {"PYTHONPATH": path}}, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    showed_bars, context.enable_progress_bars = context.enable_progress_bars, False
    problems = []
    try:
        resources = ray.cluster_resources()
        if gpus_per_worker is None:
            gpus_per_worker = 1 if use_gpus and resources.get("GPU", 0) >= 1 else 0
        if num_workers is None:
            share = resources.get("GPU", 0) / gpus_per_worker if gpus_per_worker else resources["CPU"]
            num_workers = max(1, int(share))
        num_tasks = min(len(shards), MOST_TASKS)
        results = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=num_tasks)
        results = results.map_batches(
            ShardActor,
            fn_constructor_args=(open_work, options),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(len(shards), num_workers)),
            **({"num_gpus": gpus_per_worker} if gpus_per_worker else {"num_cpus": 1}),
        )
        for row in results.iter_rows():
            if row["problem"]:
                problems.append(row["problem"])
            else:
                yield row["shard"]
    finally:
        context.enable_progress_bars = showed_bars
        if started_here:
            ray.shutdown()
    if problems:
        raise OSError(f"{len(problems)} of {len(shards)} shards have failed, first shard {problems[0]}")


@overload
def absolute(name: str) -> str: ...


@overload
def absolute(name: None) -> None: ...


def absolute(name: str | None) -> str | None:
    """A path as workers find it, who have a working folder of their own; names on the Hub stay."""
    return str(Path(name).resolve()) if name is not None and Path(name).exists() else name
