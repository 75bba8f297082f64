"""Shards encoded by actors of Ray Data, on one machine or a cluster."""

import dataclasses
import os
from pathlib import Path

from training.data_preparation.arguments import PrepareDatasetArguments


def import_ray():
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
    """Encodes the shards it is given; source, codec and output are opened once per actor."""

    def __init__(self, options: dict):
        from training.data_preparation.work import Work

        self.work = Work(PrepareDatasetArguments(**options))

    def __call__(self, batch: dict) -> dict:
        # returned, as Ray hides what an actor raises behind an error of its own
        return {"problem": [self._encode(int(shard)) for shard in batch["shard"]]}

    def _encode(self, shard: int) -> str:
        try:
            self.work.encode_shard(shard)
        except (OSError, ValueError) as error:
            return f"{shard}: {error}"
        return ""


def encode_with_ray(arguments: PrepareDatasetArguments, shards: list[int]) -> None:
    """
    Encodes `shards` on the Ray cluster that is running, or on one started for it on this machine. All machines must
    see source and output at the same paths; the shards on disk are those of the local engine, and as safe to resume.

    Raises:
        ImportError: if Ray Data is missing.
        OSError: if shards could not be encoded or written; the others are kept.
    """
    ray = import_ray()
    started_here = not ray.is_initialized()
    if started_here:
        # actors find the code as this process does
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        ray.init(runtime_env={"env_vars": {"PYTHONPATH": path}}, log_to_driver=False)
    try:
        resources = ray.cluster_resources()
        on_gpus = arguments.device != "cpu" and resources.get("GPU", 0) >= 1
        available = int(resources["GPU" if on_gpus else "CPU"])
        options = dataclasses.asdict(arguments) | {
            "source": _absolute(arguments.source),
            "output": _absolute(arguments.output),
            "codec": _absolute(arguments.codec),
        }
        results = ray.data.from_items([{"shard": shard} for shard in shards]).map_batches(
            ShardActor,
            fn_constructor_args=(options,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(len(shards), arguments.ray_workers or available)),
            **({"num_gpus": 1} if on_gpus else {"num_cpus": 1}),
        )
        problems = [row["problem"] for row in results.iter_rows() if row["problem"]]
    finally:
        if started_here:
            ray.shutdown()
    if problems:
        raise OSError(f"{len(problems)} of {len(shards)} shards have failed, first shard {problems[0]}")


def _absolute(name: str | None) -> str | None:
    """Actors have a working folder of their own; names on the Hub stay."""
    return str(Path(name).resolve()) if name is not None and Path(name).exists() else name
