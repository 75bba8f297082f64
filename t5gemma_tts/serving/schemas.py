"""Request and response bodies, in the shapes of OpenAI's API."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .voices import DEFAULT_VOICE


AudioFormat = Literal["mp3", "opus", "flac", "wav", "pcm"]
LARGEST_SEED = 2**53 - 1  # that JSON numbers carry exactly


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class VoiceName(_Body):
    """OpenAI's shape for voices that are not built in."""

    id: str


class SpeechItem(_Body):
    """One text to speak."""

    input: str = Field(description="What to say.", min_length=1)
    voice: str | VoiceName = Field(DEFAULT_VOICE, description="A stored voice; 'default' is the model's own.")
    language: str | None = Field(None, description="en, ja or zh; detected if not given.", max_length=35)
    speed: Annotated[float, Field(ge=0.25, le=4.0)] = Field(1.0, description="Divides the estimated duration.")
    duration: Annotated[float, Field(gt=0, le=3600)] | None = Field(
        None, description="Seconds that the speech takes; estimated if not given."
    )
    reference_audio: str | None = Field(None, description="Recording of a voice to clone: an audio file in base64.")
    reference_text: str | None = Field(None, description="What is said in it.", max_length=4096)
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = Field(None, description="For repeatable results.")
    temperature: Annotated[float, Field(ge=0, le=10)] | None = Field(None, description="0 takes the best token always.")
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(None, description="0 keeps all tokens.")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None

    def voice_name(self) -> str:
        return self.voice if isinstance(self.voice, str) else self.voice.id


class SpeechBody(SpeechItem):
    model: str | None = Field(None, description="One of /v1/models; the only one if not given.", max_length=512)
    response_format: AudioFormat = "mp3"
    stream_format: Literal["audio", "sse"] | None = Field(
        None, description="Send the sound while it is spoken: as chunks of the file, or as server-sent events."
    )


class BatchBody(_Body):
    """Several texts; what is wrong with one does not touch the others."""

    model: str | None = Field(None, max_length=512)
    response_format: AudioFormat = "mp3"
    items: list[dict[str, Any]] = Field(
        min_length=1, description="Each with the fields of /v1/audio/speech but model, response_format, stream_format."
    )


class Error(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    error: Error


class BatchResult(BaseModel):
    index: int
    audio: str | None = Field(None, description="The file in base64.")
    duration: float | None = Field(None, description="Seconds.")
    seed: int | None = None
    error: Error | None = None


class BatchAnswer(BaseModel):
    object: Literal["list"] = "list"
    response_format: AudioFormat
    data: list[BatchResult]


class VoiceInfo(BaseModel):
    id: str
    object: Literal["audio.voice"] = "audio.voice"
    name: str
    reference_text: str | None = None
    consent: bool | None = None
    duration: float | None = Field(None, description="Seconds of the recording.")
    created: str | None = None


class VoiceList(BaseModel):
    object: Literal["list"] = "list"
    data: list[VoiceInfo]


class Deleted(BaseModel):
    id: str
    object: Literal["audio.voice.deleted"] = "audio.voice.deleted"
    deleted: Literal[True] = True


class ModelInfo(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "t5gemma-tts"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelInfo]


class Status(BaseModel):
    status: str
