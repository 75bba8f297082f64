"""`/v1/audio/voices`: clients add, list and delete stored voices."""

from typing import Annotated

from fastapi import APIRouter, File, Form, Request, UploadFile

from .disconnects import run_until_disconnect
from .errors import BadRequest
from .schemas import DeletedVoice, VoiceInfo, VoiceList, VoiceName
from .service import Service
from .voices import DEFAULT_VOICE, Voice, check_voice_name


def voices_router(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/audio/voices", tags=["voices"])

    @router.get("", response_model=VoiceList, response_model_exclude_none=True)
    async def list_voices() -> VoiceList:
        """List all voices, the model's own first, and the aliases among the names to choose from."""
        stored: list[Voice] = []
        if service.voices is not None:
            stored = await service.synthesis.run_on_text_thread(service.voices.voices)
        names = dict.fromkeys([DEFAULT_VOICE, *(voice.name for voice in stored), *service.names.voice_aliases])
        return VoiceList(
            data=[VoiceInfo(id=DEFAULT_VOICE, name=DEFAULT_VOICE), *map(voice_info, stored)],
            voices=[VoiceName(id=name, name=name) for name in names],
        )

    @router.post("", status_code=201, response_model=VoiceInfo)
    async def add_voice(
        request: Request,
        name: Annotated[str, Form(description="1 to 64 of a-z, 0-9, '_' and '-'.")],
        consent: Annotated[bool, Form(description="Must be true: the speaker agreed to be cloned.")],
        reference_text: Annotated[str, Form(description="Transcript of the recording.", min_length=1)],
        audio: Annotated[UploadFile, File(description="Recording: wav, flac, ogg or mp3.")],
    ) -> VoiceInfo:
        """Store a voice."""
        voices = service.require_voice_store()
        check_voice_name(name)
        if not consent:
            raise BadRequest("`consent` must be true.", param="consent")
        if len(reference_text) > service.limits.max_characters:
            raise BadRequest(
                f"`reference_text` must have at most {service.limits.max_characters} characters.",
                param="reference_text",
            )
        data = await audio.read()
        with service.synthesis.admit():
            reference = await run_until_disconnect(
                request.receive, service.encode_reference(data, reference_text, "audio")
            )
            voice = await service.synthesis.run_on_text_thread(
                voices.add, name, reference.codes, reference.text, reference.seconds, consent
            )
        return voice_info(voice)

    @router.delete("/{name}", response_model=DeletedVoice)
    async def delete_voice(name: str) -> DeletedVoice:
        """Delete a voice."""
        await service.synthesis.run_on_text_thread(service.require_voice_store().delete, name)
        return DeletedVoice(id=name)

    return router


def voice_info(voice: Voice) -> VoiceInfo:
    return VoiceInfo(
        id=voice.name,
        name=voice.name,
        reference_text=voice.reference_text,
        consent=voice.consent,
        duration=voice.duration_seconds,
        created=voice.created,
    )


__all__ = ["voices_router"]
