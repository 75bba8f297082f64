"""The form's fields as validated options, with error messages for the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..serving.errors import BadRequest
from ..serving.limits import Limits
from ..serving.service import sampling_options


MAX_CHARACTERS_IN_PIECES = 20_000
MIN_SPEED, MAX_SPEED = 0.25, 4.0
MAX_SEED = 2**53  # beyond it, browsers round


@dataclass(frozen=True)
class SpeechOptions:
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
        self.check_length_of_text(limits)
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
        if not MIN_SPEED <= self.speed <= MAX_SPEED:
            raise BadRequest(f"The speed must be from {MIN_SPEED:g} to {MAX_SPEED:g}, got {self.speed:g}.", "speed")
        if not 1 <= self.num_samples <= max_samples:
            raise BadRequest(f"From 1 to {max_samples} samples are possible, got {self.num_samples}.", "num_samples")
        if self.in_pieces and self.num_samples != 1:
            raise BadRequest("A long text is spoken once: please set the number of samples to 1.", "num_samples")
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise BadRequest(f"The seed must be a whole number from 0 to {MAX_SEED}, got {self.seed}.", "seed")
        self.sampling()

    def check_length_of_text(self, limits: Limits) -> None:
        """
        Raises:
            BadRequest: for a text that is too long even to look at.
        """
        most = MAX_CHARACTERS_IN_PIECES if self.in_pieces else limits.max_characters
        if len(self.text) > most:
            hint = "shorten it" if self.in_pieces else "shorten it, or tick “Long text”"
            raise BadRequest(f"The text has {len(self.text):,} characters, {most:,} are possible: {hint}.", "text")

    def sampling(self) -> dict[str, Any]:
        """
        As [`speech_requests`] takes it; what is not given stays with the model's generation config.

        Raises:
            BadRequest: for numbers so small that nothing can be divided by them.
        """
        return sampling_options(self)


__all__ = ["SpeechOptions"]
