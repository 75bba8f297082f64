"""Generates the training corpus of nano: sentences of a grammar, spoken by synthetic voices.

    python training/nano/corpus.py FOLDER
    python training/nano/corpus.py FOLDER --voices hibari --sentences 300 --validation 20 --unseen-pairs 0

The folder has `metadata.csv`, which `training/prepare_dataset.py` reads, `corpus.json` with settings and statistics,
and 16 kHz clips in `audio/`. To resume an interrupted run, repeat the command.
"""

import argparse
import csv
import json
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path


if __name__ == "__main__":
    # the repository, not this folder, whose modules would hide packages of the same names
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from t5gemma_tts.cli.command import command  # noqa: E402


METADATA_COLUMNS = ("file_name", "id", "text", "speaker", "language", "split", "duration_seconds")


def make_corpus(
    output,
    voices: list,
    num_sentences: int = 3000,
    num_validation: int = 200,
    num_unseen_pairs: int = 50,
    seed: int = 0,
    num_workers: int = 1,
    overwrite: bool = False,
    own_texts: list[str] | None = None,
) -> dict:
    """
    Generates a corpus, or resumes an interrupted run.

    Args:
        output (`str` or `os.PathLike`): Output folder.
        voices (`list[type[Voice]]`): Voices.
        num_sentences (`int`, *optional*, defaults to 3000): Training sentences per voice.
        num_validation (`int`, *optional*, defaults to 200): Held-out sentences, which all voices speak.
        num_unseen_pairs (`int`, *optional*, defaults to 50): Held-out sentences of word pairs that are not in the
            training data.
        seed (`int`, *optional*, defaults to 0): Seed of sentences and voices.
        num_workers (`int`, *optional*, defaults to 1): Number of processes.
        overwrite (`bool`, *optional*, defaults to `False`): Whether to delete an earlier corpus in the folder.
        own_texts (`list[str]`, *optional*): Training texts in place of the grammar's; the voices share them.

    Returns:
        `dict`: the content of `corpus.json`.

    Raises:
        FileExistsError: if the folder holds other files.
        ImportError: if the package of a voice is not installed.
        OSError: if writing fails, or another run is using the folder.
        ValueError: for numbers out of range, or if the corpus was started with different settings.
    """
    from t5gemma_tts.sharded.fingerprint import fingerprint
    from t5gemma_tts.sharded.folder_state import FolderState, exclusive_lock
    from training.nano.clips import SAMPLING_RATE
    from training.nano.sentences import check_plan, plan_utterances
    from training.nano.synthesis import synthesize_all

    check_plan([voice.name for voice in voices], num_sentences, num_validation, num_unseen_pairs)

    if num_workers < 1:
        raise ValueError(f"`workers` must be 1 or more, got {num_workers}.")
    for voice in voices:
        voice()  # raises an error for a missing package before anything is written
    voices = {voice.name: voice for voice in voices}
    utterances = plan_utterances(list(voices), num_sentences, num_validation, num_unseen_pairs, seed, own_texts)
    settings = {
        "seed": seed,
        "sentences": num_sentences,
        "validation": num_validation,
        "unseen_pairs": num_unseen_pairs,
        "sampling_rate": SAMPLING_RATE,
        "texts": fingerprint([(utterance.id, utterance.text, utterance.speed) for utterance in utterances]),
        "voices": {name: voice.description() for name, voice in voices.items()},
    }
    output = Path(output)
    with exclusive_lock(output, "preparation"):
        state = FolderState(output, "preparation", settings)
        state.begin(overwrite)
        synthesize_all(utterances, output, voices, num_workers)
        rows = _rows(utterances, output, voices)
        summary = {**settings, **_statistics(rows)}
        with open(output / "metadata.csv.tmp", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, METADATA_COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        (output / "corpus.json.tmp").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        for name in ("metadata.csv", "corpus.json"):
            os.replace(output / f"{name}.tmp", output / name)
        state.finish()
    return summary


def _rows(utterances, output: Path, voices: dict) -> list[dict]:
    import soundfile

    from training.nano.synthesis import clip_path

    rows = []
    for utterance in utterances:
        path = clip_path(utterance)
        rows.append(
            {
                "file_name": path,
                "id": utterance.id,
                "text": utterance.text,
                "speaker": utterance.voice,
                "language": voices[utterance.voice].language,
                "split": utterance.split,
                "duration_seconds": round(soundfile.info(output / path).duration, 3),
            }
        )
    return rows


def _statistics(rows: list[dict]) -> dict:
    """Returns numbers of clips, hours and words, and the word pairs that are not in the training data."""
    from t5gemma_tts.preparation.splitting import TRAIN
    from training.nano.sentences import UNSEEN_PAIRS, reserved_pairs, words_of

    clips, hours, words = defaultdict(Counter), Counter(), defaultdict(Counter)
    for row in rows:
        clips[row["speaker"]][row["split"]] += 1
        hours[row["speaker"]] += row["duration_seconds"] / 3600
        if row["split"] == TRAIN:
            words[row["speaker"]].update(words_of(row["text"]))
    return {
        "clips": {voice: dict(counts) for voice, counts in clips.items()},
        "hours": {voice: round(value, 3) for voice, value in hours.items()},
        "vocabulary_size": len(set().union(*words.values())),
        "words": {voice: counts.total() for voice, counts in words.items()},
        "fewest_occurrences_of_a_word": {voice: min(counts.values()) for voice, counts in words.items()},
        "reserved_pairs": sorted(
            " ".join(pair) for pair in reserved_pairs([row["text"] for row in rows if row["split"] == UNSEEN_PAIRS])
        ),
    }


@command
def main(argv: list[str] | None = None) -> None:
    from training.nano.voices import VOICES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="FOLDER", help="output folder")
    parser.add_argument("--voices", nargs="+", choices=VOICES, default=list(VOICES), metavar="VOICE",
                        help=f"voices: {', '.join(VOICES)} (default: all)")  # fmt: skip
    parser.add_argument("--sentences", type=int, default=3000, help="training sentences per voice (default: 3000)")
    parser.add_argument("--validation", type=int, default=200, help="held-out sentences (default: 200)")
    parser.add_argument(
        "--unseen-pairs", type=int, default=50, help="held-out sentences of unseen word pairs (default: 50)"
    )
    parser.add_argument(
        "--texts", type=Path, metavar="FILE", help="training texts, one per line, in place of the grammar's sentences"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of sentences and voices (default: 0)")
    parser.add_argument("--workers", type=int, default=1, help="number of processes (default: 1)")
    parser.add_argument("--overwrite", action="store_true", help="delete an earlier corpus in the folder")
    parsed = parser.parse_args(argv)
    summary = make_corpus(
        parsed.output,
        [VOICES[name] for name in parsed.voices],
        parsed.sentences,
        parsed.validation,
        parsed.unseen_pairs,
        parsed.seed,
        parsed.workers,
        parsed.overwrite,
        None if parsed.texts is None else parsed.texts.read_text(encoding="utf-8").splitlines(),
    )
    print(f"{parsed.output}: {summary['vocabulary_size']} words")
    for voice, clips in summary["clips"].items():
        counts = ", ".join(f"{count} {split}" for split, count in clips.items())
        print(f"{voice}: {counts}; {summary['hours'][voice]:.2f} h")


if __name__ == "__main__":
    sys.exit(main())
