"""The fields of the form as validated options, with error messages for the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..serving.errors import BadRequest
from ..serving.limits import Limits
from ..serving.service import sampling_options


MAX_CHARACTERS_IN_PIECES = 20_000
MIN_SPEED, MAX_SPEED = 0.25, 4.0
MAX_SEED = 2**53  # browsers round larger integers


@dataclass(frozen=True)
class SpeechOptions:
    """
    What the user filled in.

    Args:
        text (`str`): text to speak.
        language (`str`, *optional*): en, ja or zh; detected by default.
        reference (`Path`, *optional*): recording of the voice to clone; by default the model uses its own.
        reference_text (`str`): transcript of the recording.
        duration_seconds (`float`, *optional*): duration of the speech; estimated by default.
        speed (`float`): divides the estimated duration.
        in_pieces (`bool`): split a long text and speak it piece by piece.
        temperature, top_k, top_p, min_p (*optional*): sampling options; the model's by default. Temperature 0 selects
            the most likely token.
        seed (`int`, *optional*): seed of the first sample; each further sample adds 1. Drawn by default.
        num_samples (`int`): number of samples of the text.
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
        Checks all options, before any slow work.

        Raises:
            BadRequest: for the first invalid option, with a message for the page.
        """
        if not self.text.strip():
            raise BadRequest("The text is empty. Please write a text.", param="text")
        self.check_text_length(limits)
        if self.reference is None and self.reference_text.strip():
            raise BadRequest(
                "There is a transcript but no recording. Add the recording, or clear the transcript.", "reference_text"
            )
        if self.reference is not None and not self.reference_text.strip():
            raise BadRequest("The recording has no transcript. Write it, or press “Transcribe”.", "reference_text")
        if self.duration_seconds is not None:
            if self.in_pieces:
                raise BadRequest(
                    "A long text has no chosen length, only a speed. Untick “Choose the length” or “Long text”.",
                    "duration",
                )
            if not 0 < self.duration_seconds <= max_seconds:
                raise BadRequest(
                    f"The length must be above 0 and at most {max_seconds:g} seconds, got {self.duration_seconds:g}.",
                    "duration",
                )
        if not MIN_SPEED <= self.speed <= MAX_SPEED:
            raise BadRequest(f"The speed must be from {MIN_SPEED:g} to {MAX_SPEED:g}, got {self.speed:g}.", "speed")
        if not 1 <= self.num_samples <= max_samples:
            raise BadRequest(
                f"The number of samples must be from 1 to {max_samples}, got {self.num_samples}.", "num_samples"
            )
        if self.in_pieces and self.num_samples != 1:
            raise BadRequest("A long text has one sample only. Set the number of samples to 1.", "num_samples")
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise BadRequest(f"The seed must be a whole number from 0 to {MAX_SEED}, got {self.seed}.", "seed")
        self.sampling()

    def check_text_length(self, limits: Limits) -> None:
        """
        Checks the number of characters, before the text is processed.

        Raises:
            BadRequest: if the text has too many.
        """
        maximum = MAX_CHARACTERS_IN_PIECES if self.in_pieces else limits.max_characters
        if len(self.text) > maximum:
            hint = "Shorten it" if self.in_pieces else "Shorten it, or tick “Long text”"
            raise BadRequest(
                f"The text has {len(self.text):,} characters; at most {maximum:,} are allowed. {hint}.", "text"
            )

    def sampling(self) -> dict[str, Any]:
        """
        Sampling arguments for [`speech_requests`]. Options that are None keep the model's generation config.

        Raises:
            BadRequest: for a temperature or min_p that is too close to 0.
        """
        return sampling_options(self)


__all__ = ["SpeechOptions"]
