"""What people fill in, checked, in words for those who look at the page."""

from dataclasses import dataclass
from pathlib import Path

from ..serving.errors import BadRequest
from ..serving.limits import Limits


MAX_CHARACTERS_IN_PIECES = 20_000
LEAST_TEMPERATURE, LEAST_MIN_P = 0.05, 1e-6  # above 0: less is no number to divide by
MAX_SEED = 2**53  # beyond it, browsers round


@dataclass(frozen=True)
class Wish:
    """
    Args:
        text (`str`)
        language (`str`, *optional*): detected if not given.
        reference (`Path`, *optional*): recording of the voice; the model's own voice if not given.
        reference_text (`str`): what is said in it.
        duration_seconds (`float`, *optional*): of the speech; estimated if not given.
        speed (`float`): divides the estimate.
        in_pieces (`bool`): a long text, spoken piece by piece.
        temperature, top_k, top_p, min_p (*optional*): of sampling; the model's if not given. Temperature 0 takes the
            best token always.
        seed (`int`, *optional*): of the first sample, each next one has the next number; drawn if not given.
        num_samples (`int`): different takes of the text.
    """

    text: str
    language: str | None = None
    reference: Path | None = None
    reference_text: str = ""
    duration_seconds: float | None = None
    speed: float = 1.0
    in_pieces: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    num_samples: int = 1

    def check(self, limits: Limits, max_seconds: float, max_samples: int) -> None:
        """
        Raises:
            BadRequest: for what cannot be spoken, before anything is done about it.
        """
        if not self.text.strip():
            raise BadRequest("There is nothing to say yet: please write a text.", param="text")
        most = MAX_CHARACTERS_IN_PIECES if self.in_pieces else limits.max_characters
        if len(self.text) > most:
            hint = "shorten it" if self.in_pieces else "shorten it, or tick “Long text”"
            raise BadRequest(f"The text has {len(self.text):,} characters, {most:,} are possible: {hint}.", "text")
        if self.reference is None and self.reference_text.strip():
            raise BadRequest(
                "There is a transcript but no recording: add the recording, or clear the transcript.", "reference_text"
            )
        if self.reference is not None and not self.reference_text.strip():
            raise BadRequest(
                "The recording has no transcript: write what is said in it, or press “Transcribe”.", "reference_text"
            )
        if self.duration_seconds is not None:
            if self.in_pieces:
                raise BadRequest(
                    "The length of a long text cannot be chosen, only its speed: untick one of the two.", "duration"
                )
            if not 0 < self.duration_seconds <= max_seconds:
                raise BadRequest(
                    f"The length must be above 0 and at most {max_seconds:g} seconds, got {self.duration_seconds:g}.",
                    "duration",
                )
        if not 0.25 <= self.speed <= 4:
            raise BadRequest(f"The speed must be from 0.25 to 4, got {self.speed:g}.", "speed")
        if not 1 <= self.num_samples <= max_samples:
            raise BadRequest(f"From 1 to {max_samples} samples are possible, got {self.num_samples}.", "num_samples")
        if self.in_pieces and self.num_samples != 1:
            raise BadRequest("A long text is spoken once: please set the number of samples to 1.", "num_samples")
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise BadRequest(f"The seed must be a whole number from 0 to {MAX_SEED}, got {self.seed}.", "seed")
        for name, least in (("temperature", LEAST_TEMPERATURE), ("min_p", LEAST_MIN_P)):
            value = getattr(self, name)
            if value is not None and value != 0 and not least <= value < float("inf"):
                raise BadRequest(f"{name} must be 0, or at least {least}, got {value:g}.", name)

    def sampling(self) -> dict:
        """As [`speech_requests`] takes it; what is not given stays with the model's generation config."""
        if self.temperature == 0:
            return {"do_sample": False, "temperature": 1.0}
        options = {name: getattr(self, name) for name in ("temperature", "top_k", "top_p", "min_p")}
        options = {name: value for name, value in options.items() if value is not None}
        return options | {"do_sample": True} if options else {}


__all__ = ["Wish"]
