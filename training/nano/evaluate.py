"""Evaluates nano for its model card, with speech recognition, and compares it with the recordings of its voices.

    python training/nano/evaluate.py --asr WHISPER

generates missing held-out recordings, and writes the report of `t5gemma-tts evaluate` for each of `SETS`, and
`codec.json`, to `model_card/nano/`. To resume an interrupted run, repeat the command.
"""

import argparse
import json
import sys
from pathlib import Path


REPOSITORY = Path(__file__).resolve().parents[2]
ONE_VOICE = ("--speaker", "hibari")
NO_SAMPLES = ("--samples", "0")
VOICES = ("--speaker-encoder", "resemblyzer")
TEXTS = ("--language", "en", *NO_SAMPLES)
# folder: title, options of `t5gemma-tts evaluate`, and a list of texts in place of the corpus
SETS: dict[str, tuple[str, tuple[str, ...], str | None]] = {
    "ordinary": ("ordinary sentences", TEXTS, "ordinary_sentences.txt"),
    "short": ("texts of 1 to 3 words", TEXTS, "short_sentences.txt"),
    "held_out": ("held-out sentences", (*ONE_VOICE, *VOICES, "--dnsmos"), None),
    "unseen_pairs": ("sentences with an unseen pair", (*ONE_VOICE, "--split", "unseen_pairs"), None),
    "references": (
        "held-out sentences of both voices",
        ("--limit", "60", "--same-speaker-references", "--reference-seconds", "3", "5", *VOICES, "--skip-recordings")
        + NO_SAMPLES,
        None,
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
    parser.add_argument("--model", default=NANO, help="checkpoint (default: the bundled nano)")
    parser.add_argument(
        "--corpus",
        type=Path,
        default=Path("data/nano/held-out"),
        metavar="FOLDER",
        help="corpus of training/nano/corpus.py, generated if it is missing (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "model_card" / "nano", metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET", help="default: all")
    parser.add_argument("--limit", type=int, metavar="N", help="maximum number of sentences per set")
    parser.add_argument("--overwrite", action="store_true", help="repeat completed evaluations")
    arguments = parser.parse_args(argv)
    overwrite = ["--overwrite"] if arguments.overwrite else []
    if not (arguments.corpus / "corpus.json").is_file():
        # held-out sentences do not depend on the number of training sentences
        if code := make_corpus([str(arguments.corpus), "--sentences", "1"]):
            return code
    for name in arguments.sets:
        title, options, texts = SETS[name]
        source = str(arguments.corpus if texts is None else Path(__file__).with_name(texts))
        options = [*options, *(["--limit", str(arguments.limit)] if arguments.limit else [])]
        options = ["--model", arguments.model, "--asr", arguments.asr, "--title", title, *options, *overwrite]
        if code := command(["evaluate", source, "-o", str(arguments.output / name), *options]):
            return code
    codec_report = arguments.output / "codec.json"
    if overwrite or not codec_report.is_file():
        summary, _ = evaluate_codec(
            load_codec(arguments.model, "cpu"),
            select_recordings([str(arguments.corpus)], VALIDATION, arguments.limit),
            recognize=load_recognizer(arguments.asr, "en"),
            rate=load_dnsmos(),
        )
        codec_report.write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    # the repository, not this folder, whose modules would hide packages of the same names
    sys.path[0] = str(REPOSITORY)
    sys.exit(main())
