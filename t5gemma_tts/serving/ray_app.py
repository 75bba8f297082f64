"""The server's application as a Ray Serve deployment: replicas that come and go with the load, over many machines.

serve run t5gemma_tts.serving.ray_app:app voices_dir=/shared/voices max_replicas=4
"""

from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application

from ..checkpoints import NANO
from ..loading import ModelOptions
from .app import create_app
from .auth import ApiKeys
from .limits import Limits
from .service import Service, most_open
from .synthesis import SynthesisService


CLOSING_SECONDS = 10


class SpeechArguments(BaseModel):
    """What `serve run` takes as `name=value`, and a configuration file as `args`."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = Field(NANO, description="Hub name, or folder that all machines see.")
    codec: str | None = Field(None, description="Codec to use instead of the checkpoint's own.")
    device: str = Field("auto", description="cpu, cuda, mps; the best that a replica has if not given.")
    dtype: str = Field("auto", description="float32, bfloat16, float16; as stored if not given.")
    quantization: str | None = Field(None, description="Weights in fewer bits.")
    encoder_device: str | None = Field(None, description="Of the text encoder; the model's if not given.")
    codec_device: str | None = Field(None, description="Of the codec; the model's if not given.")
    low_vram: bool = Field(False, description="bfloat16, encoder and codec on the CPU, one text at a time.")
    served_model_name: str | list[str] | None = Field(None, description="What clients call the model.")
    voices_dir: str | None = Field(None, description="Where voices are kept: a folder that all machines share.")
    api_key_file: str | None = Field(None, description="One key a line, on all machines; without it all are let in.")
    max_batch_size: int = Field(16, ge=1, description="Texts that a replica speaks at once.")
    queue_size: int = Field(64, ge=0, description="Further ones that may wait in it.")
    deadline_seconds: float = Field(300.0, gt=0, description="For a text.")
    drain_seconds: float = Field(120.0, gt=0, description="For what a replica took, when it has to go.")
    max_characters: int = Field(4096, ge=1, description="Of a text.")
    max_reference_seconds: float = Field(30.0, gt=0, description="Of a recorded voice.")
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(1, ge=1)
    cpus_per_replica: float = Field(1.0, ge=0)
    gpus_per_replica: float = Field(0.0, ge=0, description="0.5 lets two replicas share one.")

    def batch_size(self) -> int:
        return 1 if self.low_vram else self.max_batch_size


class SpeechReplica:
    """A process with a model of its own, which answers as `t5gemma-tts serve` does."""

    application: FastAPI | None = None  # of the one replica that there is in a process

    async def __init__(self, arguments: SpeechArguments):  # type: ignore[misc]  # Ray waits for it
        keys = None if arguments.api_key_file is None else ApiKeys.from_file(arguments.api_key_file)
        names = arguments.served_model_name or Path(arguments.model).name
        synthesis = SynthesisService(
            *ModelOptions.of(arguments).load(),
            max_batch_size=arguments.batch_size(),
            queue_size=arguments.queue_size,
            deadline_seconds=arguments.deadline_seconds,
        )
        limits = Limits(max_characters=arguments.max_characters, max_reference_seconds=arguments.max_reference_seconds)
        names = [names] if isinstance(names, str) else names
        self.service = Service(synthesis, arguments.voices_dir, names, keys, limits)
        await synthesis.warm_up()
        SpeechReplica.application = create_app(self.service)

    def check_health(self) -> None:
        """Ray Serve puts another replica in the place of one that fails here."""
        if not self.service.synthesis.alive:
            raise RuntimeError("nobody speaks any more.")

    def __del__(self) -> None:
        """Called when all that was taken has been answered, or `drain_seconds` have passed."""
        if hasattr(self, "service"):  # it was loaded
            self.service.synthesis.close(finish=False, timeout=CLOSING_SECONDS)


def own_application() -> FastAPI | None:
    return SpeechReplica.application


def app(arguments: SpeechArguments) -> Application:
    """
    The application for `serve run` and `serve deploy`.

    A replica says no itself (429) to more than it may take; so that it is asked at all, Ray Serve lets as many through
    as it holds open.
    """
    if arguments.max_replicas < arguments.min_replicas:
        raise ValueError(
            f"`max_replicas` must be at least `min_replicas`, {arguments.min_replicas}, got {arguments.max_replicas}."
        )
    deployment = serve.deployment(
        serve.ingress(own_application)(SpeechReplica),
        name="Speech",
        autoscaling_config={
            "min_replicas": arguments.min_replicas,
            "max_replicas": arguments.max_replicas,
            "target_ongoing_requests": arguments.batch_size(),
        },
        ray_actor_options={"num_cpus": arguments.cpus_per_replica, "num_gpus": arguments.gpus_per_replica},
        max_ongoing_requests=most_open(arguments.batch_size() + arguments.queue_size),
        graceful_shutdown_timeout_s=arguments.drain_seconds,
    )
    return deployment.bind(arguments)


__all__ = ["SpeechArguments", "app"]
