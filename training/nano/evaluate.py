"""Evaluates the small voice as its card reports it: by an independent ear, beside the recordings it learnt from.

    python training/nano/evaluate.py MODEL CORPUS --asr WHISPER --output evaluation.json

- held-out sentences, spoken with default sampling and estimated lengths: word error rates;
- the same at 0.8, 1 and 1.25 times the recordings' lengths: how far the speech is off, word error rates;
- references of 3 to 5 seconds: whether the speech sounds more like that voice than like the other.
"""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone works without installation

import jiwer  # noqa: E402
import numpy as np  # noqa: E402

from t5gemma_tts.audio_t5gemma_tts import load_audio, save_audio  # noqa: E402
from t5gemma_tts.engine_t5gemma_tts import SpeechEngine, speech_requests  # noqa: E402
from t5gemma_tts.loading import load_model, load_processor  # noqa: E402
from training.data_preparation.splitting import VALIDATION  # noqa: E402
from training.evaluation.text_errors import comparable  # noqa: E402
from training.evaluation.transcription import load_recogniser  # noqa: E402
from training.nano.sentences import UNSEEN_PAIRS  # noqa: E402


LENGTH_RATIOS = (0.8, 1.0, 1.25)
SHORTEST_REFERENCE, LONGEST_REFERENCE = 3.0, 5.0
LANGUAGE = "en"


@dataclass
class Case:
    """Something to say: `duration_seconds` as in the processor, `reference` a row of the corpus."""

    text: str
    duration_seconds: float | None = None
    reference: dict | None = None


@dataclass
class Spoken:
    """What a case became: float32 `waveform` (num_samples,), frames planned and spoken, and whether it ended itself."""

    waveform: np.ndarray
    num_frames: int
    planned_frames: int
    ended: bool


class Evaluation:
    """
    Args:
        model, processor: of the checkpoint.
        corpus (`Path` or None): folder of the corpus; without it there is nothing to compare with, only `speak` and
            `heard`.
        recognise (callable): as `load_recogniser` makes.
        batch_size (`int`, *optional*, defaults to 20)
        seed (`int`, *optional*, defaults to 0): of every set of cases.
    """

    def __init__(self, model, processor, corpus: Path | None, recognise, batch_size: int = 20, seed: int = 0):
        self.model, self.processor, self.corpus, self.recognise = model.eval(), processor, corpus, recognise
        self.batch_size, self.seed = batch_size, seed
        self.rows = []
        if corpus is not None:
            with open(corpus / "metadata.csv", encoding="utf-8", newline="") as file:
                self.rows = list(csv.DictReader(file))

    def rows_of(self, speaker: str, split: str, limit: int | None = None) -> list[dict]:
        """
        Raises:
            ValueError: if the speaker has none in that split.
        """
        rows = [row for row in self.rows if (row["speaker"], row["split"]) == (speaker, split)]
        if not rows:
            names = sorted({row["speaker"] for row in self.rows})
            raise ValueError(f"`speaker` {speaker!r} has no rows of {split!r}; the corpus has {names}.")
        return rows[:limit]

    def recording(self, row: dict) -> tuple[np.ndarray, int]:
        return load_audio(self.corpus / row["file_name"])

    def speak(self, cases: list[Case]) -> list[Spoken]:
        """Each with the seed, so that it says the same whatever the others are."""
        references = [case.reference for case in cases]
        inputs = self.processor(
            text=[case.text for case in cases],
            duration=[case.duration_seconds for case in cases],
            reference_audio=[row and str(self.corpus / row["file_name"]) for row in references],
            reference_text=[row and row["text"] for row in references],
            language=LANGUAGE,
        ).to(self.model.device)
        requests = speech_requests(self.model, **inputs, seed=self.seed)
        spoken = {}
        for request in SpeechEngine(self.model, self.batch_size).run(requests):
            codes = self.processor.speech_codes(request.token_ids)
            (waveform,) = self.processor.batch_decode([codes])
            ended = request.token_ids[-1] == self.model.config.eos_token_id
            spoken[request] = Spoken(waveform, len(codes), request.num_frames, ended)
        return [spoken[request] for request in requests]

    def heard(self, waveforms: Iterable[np.ndarray], sampling_rate: float) -> list[str]:
        return [self.recognise(waveform, sampling_rate) if len(waveform) else "" for waveform in waveforms]

    def sentences(self, speaker: str, split: str, limit: int | None, audio_folder: Path | None = None) -> dict:
        """Word error rates of what is said without a reference, and of the speaker's recordings of the same texts."""
        rows = self.rows_of(speaker, split, limit)
        spoken = self.speak([Case(row["text"]) for row in rows])
        if audio_folder is not None:
            audio_folder.mkdir(parents=True, exist_ok=True)
            for row, speech in zip(rows, spoken, strict=True):
                if len(speech.waveform):
                    path = audio_folder / f"{row['id']}.wav"
                    save_audio(speech.waveform.clip(-1, 1), path, self.processor.sampling_rate, overwrite=True)
        texts = [row["text"] for row in rows]
        heard = self.heard((speech.waveform for speech in spoken), self.processor.sampling_rate)
        recordings = [self.recording(row) for row in rows]
        heard_recordings = [self.recognise(*recording) for recording in recordings]
        return {
            "sentences": len(rows),
            "wer": word_error_rate(texts, heard),
            "wer_recordings": word_error_rate(texts, heard_recordings),
            "empty": sum(not speech.num_frames for speech in spoken),
            "endless": sum(not speech.ended for speech in spoken),
            "wer_by_words": by_length(texts, heard),
            "heard": [{"text": text, "heard": said} for text, said in zip(texts, heard, strict=True)],
        }

    def lengths(self, speaker: str, limit: int | None) -> dict[str, dict]:
        """Duration errors and word error rates at shares of the recordings' lengths."""
        rows = self.rows_of(speaker, VALIDATION, limit)
        results = {}
        for ratio in LENGTH_RATIOS:
            wanted = [ratio * float(row["duration_seconds"]) for row in rows]
            cases = [Case(row["text"], seconds) for row, seconds in zip(rows, wanted, strict=True)]
            spoken = self.speak(cases)
            rate = self.processor.sampling_rate
            errors = [
                abs(len(speech.waveform) / rate - seconds) / seconds
                for speech, seconds in zip(spoken, wanted, strict=True)
            ]
            heard = self.heard((speech.waveform for speech in spoken), rate)
            results[f"{ratio:g}"] = {
                "mean_absolute_error": float(np.mean(errors)),
                "within_5_percent": float(np.mean(np.array(errors) <= 0.05)),
                "wer": word_error_rate([row["text"] for row in rows], heard),
            }
        return results

    def voices(self, embed: Callable[[np.ndarray, float], np.ndarray], num_cases: int) -> dict:
        """
        Share of sentences, spoken with references of all speakers in turn, that sound most like their reference's
        speaker: by cosine similarity with the mean of that speaker's held-out recordings.
        """
        speakers = sorted({row["speaker"] for row in self.rows})
        centres, references = {}, {}
        for speaker in speakers:
            rows = self.rows_of(speaker, VALIDATION)
            fit = [row for row in rows if SHORTEST_REFERENCE <= float(row["duration_seconds"]) <= LONGEST_REFERENCE]
            if len(fit) < 2:  # one of which may be the sentence that is spoken
                raise ValueError(
                    f"{speaker!r} has {len(fit)} held-out clips of {SHORTEST_REFERENCE:g} to {LONGEST_REFERENCE:g} "
                    "seconds; the test of voices needs 2 or more as references."
                )
            references[speaker] = fit
            centres[speaker] = np.mean([embed(*self.recording(row)) for row in fit[-20:]], axis=0)
        cases, wanted = [], []
        texts = [row["text"] for row in self.rows_of(speakers[0], VALIDATION) if len(row["text"].split()) >= 4]
        for number, text in zip(range(num_cases), texts, strict=False):
            speaker = speakers[number % len(speakers)]
            fit = [row for row in references[speaker] if row["text"] != text]
            cases.append(Case(text, reference=fit[number % len(fit)]))
            wanted.append(speaker)
        spoken = self.speak(cases)
        rate = self.processor.sampling_rate
        similarity = {name: [] for name in ("own", "other")}
        right = 0
        for speech, speaker in zip(spoken, wanted, strict=True):
            if not len(speech.waveform):
                continue
            embedding = embed(speech.waveform, rate)
            scores = {name: cosine(embedding, centre) for name, centre in centres.items()}
            others = max(score for name, score in scores.items() if name != speaker)
            similarity["own"].append(scores[speaker])
            similarity["other"].append(others)
            right += scores[speaker] > others
        heard = self.heard((speech.waveform for speech in spoken), rate)
        return {
            "cases": len(cases),
            "right_voice": right / len(cases),
            **{f"similarity_{name}": float(np.mean(values)) for name, values in similarity.items()},
            "wer": {
                speaker: word_error_rate(
                    [case.text for case, own in zip(cases, wanted, strict=True) if own == speaker],
                    [said for said, own in zip(heard, wanted, strict=True) if own == speaker],
                )
                for speaker in speakers
            },
        }


def word_error_rate(texts: list[str], heard: list[str]) -> float:
    return float(
        jiwer.wer([comparable(text, LANGUAGE) for text in texts], [comparable(text, LANGUAGE) for text in heard])
    )


def by_length(texts: list[str], heard: list[str]) -> dict[str, float]:
    """Word error rates of short, middling and long sentences, by number of words."""
    bounds = (1, 4, 8, 16)
    rates = {}
    for first, after in zip_longest(bounds, bounds[1:]):
        chosen = [
            pair
            for pair in zip(texts, heard, strict=True)
            if first <= len(pair[0].split()) < (after or len(pair[0]) + 1)
        ]
        if chosen:
            rates[f"{first}-{after - 1}" if after else f"{first}+"] = word_error_rate(
                *map(list, zip(*chosen, strict=True))
            )
    return rates


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def load_speaker_encoder() -> Callable[[np.ndarray, float], np.ndarray]:
    """
    Resemblyzer's: a function of (waveform, Hz) that returns the voice's embedding, float32 (256,).

    Raises:
        ImportError: without resemblyzer.
    """
    try:
        from resemblyzer import VoiceEncoder, preprocess_wav
    except ImportError as error:
        raise ImportError(
            'speaker similarity needs `pip install resemblyzer webrtcvad-wheels "setuptools<81"`.'
        ) from error
    encoder = VoiceEncoder("cpu", verbose=False)
    return lambda waveform, rate: encoder.embed_utterance(preprocess_wav(waveform, source_sr=int(rate)))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="checkpoint")
    parser.add_argument("corpus", type=Path, help="folder that training/nano/corpus.py made")
    parser.add_argument("--asr", required=True, help="speech recognition: folder of a CTranslate2 Whisper, or Hub name")
    parser.add_argument("--speaker", default="hibari", help="whose voice is spoken without reference (default: hibari)")
    parser.add_argument("--limit", type=int, help="only so many sentences of each kind")
    parser.add_argument("--voice-cases", type=int, default=100, help="of the test of voices; 0 leaves it out")
    parser.add_argument("--skip-lengths", action="store_true", help="leave the test of lengths out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the figures go, as JSON")
    parser.add_argument("--save-audio", type=Path, metavar="FOLDER", help="where held-out sentences go, as WAV files")
    arguments = parser.parse_args(argv)
    try:
        evaluation = Evaluation(
            load_model(arguments.model, device="cpu", dtype="float32"),
            load_processor(arguments.model, codec_device="cpu"),
            arguments.corpus,
            load_recogniser(arguments.asr, LANGUAGE),
            seed=arguments.seed,
        )
        results = {
            split: evaluation.sentences(arguments.speaker, split, arguments.limit, arguments.save_audio)
            for split in (VALIDATION, UNSEEN_PAIRS)
        }
        if not arguments.skip_lengths:
            results["lengths"] = evaluation.lengths(arguments.speaker, arguments.limit)
        if arguments.voice_cases:
            results["voices"] = evaluation.voices(load_speaker_encoder(), arguments.voice_cases)
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    shown = {name: {k: v for k, v in figures.items() if k != "heard"} for name, figures in results.items()}
    print(json.dumps(shown, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
