"""Request and response bodies, in the format of OpenAI's API."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .voices import DEFAULT_VOICE


AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
SampleRate = Literal[8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000]
MAX_SEED = 2**53 - 1  # largest integer that every JSON parser keeps exactly


SAMPLE_RATE = "Hz; by default 24000 for pcm, 48000 for opus, and the model's rate for the other formats."


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    def unknown_fields(self) -> list[str]:
        """Names of the fields that the server does not know."""
        return list(self.model_extra or ())


class VoiceId(_Body):
    """OpenAI's format for custom voices."""

    id: str


class SpeechItem(_Body):
    """One text to speak."""

    input: str = Field(description="Text to speak.", min_length=1)
    voice: str | VoiceId = Field(
        DEFAULT_VOICE, description="Name of a stored voice or an alias; 'default' is the model's own."
    )
    language: str | None = Field(None, description="en, ja or zh; detected by default.", max_length=35)
    speed: Annotated[float, Field(ge=0.25, le=4.0)] = Field(1.0, description="Divides the estimated duration.")
    duration: Annotated[float, Field(gt=0, le=3600)] | None = Field(
        None, description="Duration of the speech in seconds; estimated by default."
    )
    normalize: bool | None = Field(
        None, description="Read numbers, dates, symbols and abbreviations as words; by default as the model does."
    )
    lexicon: dict[str, str] | None = Field(
        None,
        description="Pronunciations of words: another spelling, or phonemes between slashes for models that read them. "
        "Only if the server allows it.",
    )
    reference_audio: str | None = Field(None, description="Recording of a voice to clone: an audio file in base64.")
    reference_text: str | None = Field(None, description="Transcript of `reference_audio`.", max_length=4096)
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = Field(
        None, description="Random seed, for repeatable results; drawn by default."
    )
    temperature: Annotated[float, Field(ge=0, le=10)] | None = Field(
        None, description="0 selects the most likely token."
    )
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(None, description="0 keeps all tokens.")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None

    def unknown_fields(self) -> list[str]:
        nested = [] if isinstance(self.voice, str) else self.voice.unknown_fields()
        return super().unknown_fields() + [f"voice.{name}" for name in nested]

    def voice_name(self) -> str:
        return self.voice if isinstance(self.voice, str) else self.voice.id


class SpeechBody(SpeechItem):
    model: str | None = Field(
        None,
        description="Name of the model; the server has one, which serves every name unless --strict-models.",
        max_length=512,
    )
    response_format: AudioFormat = "mp3"
    stream_format: Literal["audio", "sse"] | None = Field(
        None, description="Stream the audio while it is generated: as chunks of the file, or as server-sent events."
    )
    stream: bool | None = Field(
        None, description="true streams like stream_format 'audio'; false sends the whole file, except with 'sse'."
    )
    sample_rate: SampleRate | None = Field(None, description=SAMPLE_RATE)

    @property
    def streams(self) -> bool:
        """Whether the response starts before the speech is complete."""
        if self.stream_format == "sse" or self.stream is None:
            return self.stream_format is not None
        return self.stream


class BatchBody(_Body):
    """Several texts. An error in one does not affect the others."""

    model: str | None = Field(None, max_length=512)
    response_format: AudioFormat = "mp3"
    sample_rate: SampleRate | None = Field(None, description=SAMPLE_RATE)
    items: list[dict[str, Any]] = Field(
        min_length=1,
        description="Items with the fields of /v1/audio/speech, but not model, response_format and sample_rate.",
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
    audio: str | None = Field(None, description="Audio file in base64.")
    duration: float | None = Field(None, description="Duration of the speech in seconds.")
    seed: int | None = None
    voice: str | None = Field(None, description="Name of the voice that spoke.")
    ignored_fields: list[str] = Field([], description="Fields of the item that the server does not know.")
    error: Error | None = None


class BatchResponse(BaseModel):
    object: Literal["list"] = "list"
    response_format: AudioFormat
    data: list[BatchResult]


class VoiceInfo(BaseModel):
    id: str
    object: Literal["audio.voice"] = "audio.voice"
    name: str
    reference_text: str | None = None
    consent: bool | None = None
    duration: float | None = Field(None, description="Duration of the recording in seconds.")
    created: str | None = None


class VoiceName(BaseModel):
    id: str
    name: str


class VoiceList(BaseModel):
    object: Literal["list"] = "list"
    data: list[VoiceInfo]
    voices: list[VoiceName] = Field(
        description="All names to choose from, aliases included, as Open WebUI and Kokoro-FastAPI's clients read them."
    )


class DeletedVoice(BaseModel):
    id: str
    object: Literal["audio.voice.deleted"] = "audio.voice.deleted"
    deleted: Literal[True] = True


class ModelInfo(BaseModel):
    id: str
    name: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "t5gemma-tts"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelInfo]


class AudioModelList(ModelList):
    models: list[ModelInfo] = Field(description="The same, as Open WebUI reads it.")


class Status(BaseModel):
    status: str
