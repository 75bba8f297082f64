"""Speaks planned utterances into files, in this process or several. What is on disk already is not spoken again."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from training.nano.clips import make_clip, write_clip
from training.nano.sentences import Utterance
from training.nano.voices import Voice


AUDIO_FOLDER = "audio"
# utterances that a worker is handed at once
_CHUNK = 16


def clip_path(utterance: Utterance) -> str:
    """Of its file, relative to the corpus."""
    return f"{AUDIO_FOLDER}/{utterance.voice}/{utterance.id}.flac"


class Speaker:
    """
    Speaks utterances into files of a corpus.

    Args:
        output (`Path`): Folder of the corpus.
        voices (`dict[str, type[Voice]]`): By name; a voice is made when it first speaks.
    """

    def __init__(self, output: Path, voices: dict[str, type[Voice]]):
        self.output, self._classes = output, voices
        self._voices: dict[str, Voice] = {}

    def __call__(self, utterance: Utterance) -> None:
        """
        Raises:
            ValueError: if the voice said nothing that can be used; names voice and text.
        """
        if utterance.voice not in self._voices:
            self._voices[utterance.voice] = self._classes[utterance.voice]()
        voice = self._voices[utterance.voice]
        try:
            clip = make_clip(voice.speak(utterance.text, utterance.seed, utterance.speed), voice.sampling_rate)
        except ValueError as error:
            raise ValueError(f"the voice {utterance.voice!r} cannot say {utterance.text!r}: {error}") from error
        write_clip(self.output / clip_path(utterance), clip)


def speak_all(utterances: list[Utterance], output: Path, voices: dict[str, type[Voice]], num_workers: int = 1) -> int:
    """
    Speaks what is not on disk yet.

    Args:
        utterances (`list[Utterance]`)
        output (`Path`): Folder of the corpus.
        voices (`dict[str, type[Voice]]`): By name.
        num_workers (`int`, *optional*, defaults to 1): Processes; the files do not depend on it.

    Returns:
        `int`: number of clips that were spoken now.

    Raises:
        ImportError: if the package of a voice is missing.
        OSError: if a file cannot be written.
        ValueError: if a voice said nothing that can be used.
    """
    for leftover in (output / AUDIO_FOLDER).glob("*/*.tmp"):
        leftover.unlink(missing_ok=True)
    missing = [utterance for utterance in utterances if not (output / clip_path(utterance)).is_file()]
    done = _spoken(missing, Speaker(output, voices), num_workers)
    initial, total = len(utterances) - len(missing), len(utterances)
    for _ in tqdm(done, initial=initial, total=total, unit="clip", desc="speaking", mininterval=1):
        pass
    return len(missing)


def _spoken(utterances: list[Utterance], speaker: Speaker, num_workers: int) -> Iterator[None]:
    if num_workers == 1 or not utterances:
        yield from map(speaker, utterances)
        return
    # not forked: ONNX Runtime's threads do not survive that
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, initializer=_adopt, initargs=(speaker,)) as pool:
        try:
            yield from pool.map(_speak, utterances, chunksize=_CHUNK)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_speaker: Speaker | None = None


def _adopt(speaker: Speaker) -> None:
    global _speaker
    _speaker = speaker


def _speak(utterance: Utterance) -> None:
    _speaker(utterance)
