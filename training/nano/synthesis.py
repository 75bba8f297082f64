"""Synthesizes planned utterances in one or several processes; existing clips are kept."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from training.nano.clips import make_clip, write_clip
from training.nano.sentences import Utterance
from training.nano.voices import Voice


AUDIO_FOLDER = "audio"
# utterances per task of a worker process
_CHUNK = 16


def clip_path(utterance: Utterance) -> str:
    """Returns the path of the clip relative to the corpus."""
    return f"{AUDIO_FOLDER}/{utterance.voice}/{utterance.id}.flac"


class ClipSynthesizer:
    """
    Synthesizes utterances and writes them as clips of a corpus.

    Args:
        output (`Path`): Folder of the corpus.
        voices (`dict[str, type[Voice]]`): Voice classes by name; a voice is loaded at first use.
    """

    def __init__(self, output: Path, voices: dict[str, type[Voice]]):
        self.output, self._classes = output, voices
        self._voices: dict[str, Voice] = {}

    def __call__(self, utterance: Utterance) -> None:
        """
        Raises:
            ValueError: if the speech is not usable; the message names voice and text.
        """
        if utterance.voice not in self._voices:
            self._voices[utterance.voice] = self._classes[utterance.voice]()
        voice = self._voices[utterance.voice]
        try:
            clip = make_clip(voice.speak(utterance.text, utterance.seed, utterance.speed), voice.sampling_rate)
        except ValueError as error:
            raise ValueError(f"the voice {utterance.voice!r} cannot say {utterance.text!r}: {error}") from error
        write_clip(self.output / clip_path(utterance), clip)


def synthesize_all(
    utterances: list[Utterance], output: Path, voices: dict[str, type[Voice]], num_workers: int = 1
) -> int:
    """
    Synthesizes the utterances whose clips do not exist.

    Args:
        utterances (`list[Utterance]`): All utterances of the corpus.
        output (`Path`): Folder of the corpus.
        voices (`dict[str, type[Voice]]`): Voice classes by name.
        num_workers (`int`, *optional*, defaults to 1): Number of processes, which does not affect the clips.

    Returns:
        `int`: number of new clips.

    Raises:
        ImportError: if the package of a voice is not installed.
        OSError: if a file cannot be written.
        ValueError: if the speech of an utterance is not usable.
    """
    for leftover in (output / AUDIO_FOLDER).glob("*/*.tmp"):
        leftover.unlink(missing_ok=True)
    missing = [utterance for utterance in utterances if not (output / clip_path(utterance)).is_file()]
    done = _synthesize(missing, ClipSynthesizer(output, voices), num_workers)
    initial, total = len(utterances) - len(missing), len(utterances)
    for _ in tqdm(done, initial=initial, total=total, unit="clip", desc="speaking", mininterval=1):
        pass
    return len(missing)


def _synthesize(utterances: list[Utterance], synthesizer: ClipSynthesizer, num_workers: int) -> Iterator[None]:
    if num_workers == 1 or not utterances:
        yield from map(synthesizer, utterances)
        return
    # spawn, because ONNX Runtime does not work after a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, initializer=_set_synthesizer, initargs=(synthesizer,)) as pool:
        try:
            yield from pool.map(_synthesize_in_worker, utterances, chunksize=_CHUNK)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_synthesizer: ClipSynthesizer | None = None


def _set_synthesizer(synthesizer: ClipSynthesizer) -> None:
    global _synthesizer
    _synthesizer = synthesizer


def _synthesize_in_worker(utterance: Utterance) -> None:
    _synthesizer(utterance)
