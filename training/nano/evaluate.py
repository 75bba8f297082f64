"""Evaluates the small voice as its card reports it: by an independent ear, beside the recordings it learnt from.

    python training/nano/evaluate.py --asr WHISPER

makes the held-out recordings where they are not there yet, and writes a folder of `t5gemma-tts evaluate` for each of
`SETS`, and `codec.json`, into `model_card/nano/`. Killed midway, the same command goes on.
"""

import argparse
import json
import sys
from pathlib import Path


REPOSITORY = Path(__file__).resolve().parents[2]
ONE_VOICE = ("--speaker", "hibari")
NO_SAMPLES = ("--samples", "0")
VOICES = ("--speaker-encoder", "resemblyzer")
# folder: what it is called, and options of `t5gemma-tts evaluate`
SETS = {
    "held_out": ("held-out sentences", (*ONE_VOICE, *VOICES, "--dnsmos")),
    "unseen_pairs": ("sentences with an unseen pair", (*ONE_VOICE, "--split", "unseen_pairs")),
    "references": (
        "held-out sentences of both voices",
        ("--limit", "60", "--same-speaker-references", "--reference-seconds", "3", "5", *VOICES, "--skip-recordings")
        + NO_SAMPLES,
    ),
}


def main(argv: list[str] | None = None) -> int:
    from t5gemma_tts.checkpoints import NANO
    from t5gemma_tts.cli.main import main as command
    from t5gemma_tts.codec_training.evaluate import evaluate_codec
    from t5gemma_tts.evaluation.dnsmos import load_dnsmos
    from t5gemma_tts.evaluation.transcription import load_recognizer
    from t5gemma_tts.loading import load_codec
    from t5gemma_tts.preparation.recordings import select_recordings
    from t5gemma_tts.preparation.splitting import VALIDATION
    from training.nano.corpus import main as make_corpus

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asr", required=True, help="speech recognition: folder of a CTranslate2 Whisper, or Hub name")
    parser.add_argument("--model", default=NANO, help="checkpoint (default: the one that comes with the project)")
    parser.add_argument(
        "--corpus",
        type=Path,
        default=Path("data/nano/held-out"),
        metavar="FOLDER",
        help="recordings that training/nano/corpus.py made, or makes here (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "model_card" / "nano", metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET", help="default: all")
    parser.add_argument("--limit", type=int, metavar="N", help="only so many sentences of each set")
    parser.add_argument("--overwrite", action="store_true", help="measure again what is there")
    arguments = parser.parse_args(argv)
    again = ["--overwrite"] if arguments.overwrite else []
    if not (arguments.corpus / "corpus.json").is_file():
        # held-out sentences do not depend on how many there are to train on
        if code := make_corpus([str(arguments.corpus), "--sentences", "1"]):
            return code
    for name in arguments.sets:
        title, options = SETS[name]
        options = [*options, *(["--limit", str(arguments.limit)] if arguments.limit else [])]
        given = ["--model", arguments.model, "--asr", arguments.asr, "--title", title, *options, *again]
        if code := command(["evaluate", str(arguments.corpus), "-o", str(arguments.output / name), *given]):
            return code
    figures = arguments.output / "codec.json"
    if again or not figures.is_file():
        summary, _ = evaluate_codec(
            load_codec(arguments.model, "cpu"),
            select_recordings([str(arguments.corpus)], VALIDATION, arguments.limit),
            recognize=load_recognizer(arguments.asr, "en"),
            rate=load_dnsmos(),
        )
        figures.write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    # the repository, not this folder, whose modules would hide packages of the same names
    sys.path[0] = str(REPOSITORY)
    sys.exit(main())
