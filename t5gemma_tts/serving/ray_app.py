"""The server as a Ray Serve deployment, whose replicas scale with the load over several machines.

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
from .names import Names
from .service import Service, max_open_requests
from .synthesis import SynthesisService


CLOSING_SECONDS = 10


class SpeechArguments(BaseModel):
    """Arguments of the application: `name=value` for `serve run`, or `args` in a configuration file."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = Field(NANO, description="Hub name, or a folder on all machines.")
    codec: str | None = Field(None, description="Codec to use instead of the checkpoint's own.")
    device: str = Field("auto", description="cpu, cuda or mps; by default the best available.")
    dtype: str = Field("auto", description="float32, bfloat16 or float16; as stored by default.")
    quantization: str | None = Field(None, description="Weight quantization, such as int8.")
    encoder_device: str | None = Field(None, description="Device of the text encoder; the model's by default.")
    codec_device: str | None = Field(None, description="Device of the codec; the model's by default.")
    low_vram: bool = Field(False, description="bfloat16, encoder and codec on the CPU, one text at a time.")
    trim_silence: bool | None = Field(None, description="Trim the silence of references; the checkpoint's default.")
    normalize_loudness: bool | None = Field(None, description="Bring references to -23 LUFS; the checkpoint's default.")
    watermark: str = Field("metadata", description="Marks of synthetic speech in files: metadata or off.")
    served_model_name: str | list[str] | None = Field(None, description="Name that clients use for the model.")
    strict_models: bool = Field(False, description="Refuse other model names.")
    strict: bool = Field(False, description="Refuse requests with unknown fields.")
    voice_aliases: dict[str, str] = Field({}, description="Name that clients send -> stored voice, or 'default'.")
    voices_dir: str | None = Field(None, description="Folder of stored voices, shared by all machines.")
    api_key_file: str | None = Field(
        None, description="File with one API key per line, on all machines; by default everyone may connect."
    )
    max_batch_size: int = Field(16, ge=1, description="Most texts in a batch of a replica.")
    queue_size: int = Field(64, ge=0, description="Most further texts that wait in a replica.")
    deadline_seconds: float = Field(300.0, gt=0, description="Time limit of one text.")
    drain_seconds: float = Field(120.0, gt=0, description="Time for accepted requests when a replica stops.")
    max_characters: int = Field(4096, ge=1, description="Most characters of a text.")
    max_reference_seconds: float = Field(30.0, gt=0, description="Longest reference recording.")
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(1, ge=1)
    cpus_per_replica: float = Field(1.0, ge=0)
    gpus_per_replica: float = Field(0.0, ge=0, description="0.5 lets two replicas share a GPU.")

    def batch_size(self) -> int:
        """The batch size of a replica; `low_vram` makes it 1."""
        return 1 if self.low_vram else self.max_batch_size


class SpeechReplica:
    """A replica process: it loads a model and serves the same routes as `t5gemma-tts serve`."""

    application: FastAPI | None = None  # a process has one replica

    async def __init__(self, arguments: SpeechArguments):  # type: ignore[misc]  # Ray awaits it
        keys = None if arguments.api_key_file is None else ApiKeys.from_file(arguments.api_key_file)
        names = arguments.served_model_name or Path(arguments.model).name
        synthesis = SynthesisService(
            *ModelOptions.from_attributes(arguments).load(),
            max_batch_size=arguments.batch_size(),
            queue_size=arguments.queue_size,
            deadline_seconds=arguments.deadline_seconds,
        )
        limits = Limits(max_characters=arguments.max_characters, max_reference_seconds=arguments.max_reference_seconds)
        names = [names] if isinstance(names, str) else names
        known = Names(names, arguments.strict_models, arguments.voice_aliases)
        self.service = Service(
            synthesis, arguments.voices_dir, known, keys, limits, arguments.strict, arguments.watermark
        )
        await synthesis.warm_up()
        SpeechReplica.application = create_app(self.service)

    def check_health(self) -> None:
        """Raises if the worker thread has died; Ray Serve then replaces the replica."""
        if not self.service.synthesis.alive:
            raise RuntimeError("the worker thread has died.")

    def __del__(self) -> None:
        """Ray calls this when the accepted requests have been answered, or after `drain_seconds`."""
        if hasattr(self, "service"):  # False if loading failed
            self.service.synthesis.close(finish=False, timeout=CLOSING_SECONDS)


def replica_application() -> FastAPI | None:
    return SpeechReplica.application


def app(arguments: SpeechArguments) -> Application:
    """
    The application for `serve run` and `serve deploy`.

    `max_ongoing_requests` is above a replica's capacity, so that a full replica answers 429 itself.

    Raises:
        ValueError: if `max_replicas` is below `min_replicas`.
    """
    if arguments.max_replicas < arguments.min_replicas:
        raise ValueError(
            f"`max_replicas` must be at least `min_replicas`, {arguments.min_replicas}, got {arguments.max_replicas}."
        )
    deployment = serve.deployment(
        serve.ingress(replica_application)(SpeechReplica),
        name="Speech",
        autoscaling_config={
            "min_replicas": arguments.min_replicas,
            "max_replicas": arguments.max_replicas,
            "target_ongoing_requests": arguments.batch_size(),
        },
        ray_actor_options={"num_cpus": arguments.cpus_per_replica, "num_gpus": arguments.gpus_per_replica},
        max_ongoing_requests=max_open_requests(arguments.batch_size() + arguments.queue_size),
        graceful_shutdown_timeout_s=arguments.drain_seconds,
    )
    return deployment.bind(arguments)


__all__ = ["SpeechArguments", "app"]
