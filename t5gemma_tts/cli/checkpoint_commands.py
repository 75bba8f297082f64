"""Commands for checkpoints and data: info, convert, export, prepare, train, merge, evaluate. `commands` says more."""

import argparse
from typing import TYPE_CHECKING

from .options import (
    DEFAULT_ASR,
    add_model_options,
    positive,
)


if TYPE_CHECKING:  # a private name of argparse
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_info(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "info", help="describe a checkpoint", description="Describe a checkpoint without loading it."
    )
    parser.add_argument("model", metavar="MODEL", help="Hub name or folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(module="info")


def add_convert(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "convert",
        help="convert a checkpoint of the original project",
        description="Convert a training bundle (.pth, with or without LoRA) or an export of the original project.",
    )
    parser.add_argument("source", help=".pth bundle, or folder or Hub name of an exported checkpoint")
    parser.add_argument("output", help="folder to write")
    parser.add_argument(
        "--backbone-config",
        metavar="NAME",
        help="T5Gemma model with the bundle's architecture (default: as noted in it)",
    )
    parser.add_argument(
        "--tokenizer", metavar="NAME", help="tokenizer to include (default: the one the checkpoint names)"
    )
    parser.add_argument("--codec", metavar="NAME", help="codec: a folder is copied, a Hub name is noted in the config")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="dtype of the weights (default: as stored)"
    )
    parser.add_argument(
        "--keep-adapter", action="store_true", help="LoRA bundles: write the base model and the adapter separately"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    parser.set_defaults(module="convert")


def add_export(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "export",
        help="write a folder that is ready for the Hub",
        description="Write weights, processor, codec, code and model card into one folder. It loads with "
        "trust_remote_code=True where this project is not installed.",
    )
    parser.add_argument("model", metavar="MODEL", help="Hub name or folder, or 'nano', the bundled voice")
    parser.add_argument("output", metavar="FOLDER", help="folder to write")
    parser.set_defaults(module="export")


def add_prepare(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser("prepare", help="make a dataset of audio codes to train on", add_help=False)
    parser.set_defaults(module="prepare", passes_options=True)


def add_train(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser("train", help="train a model, from a YAML recipe or from options", add_help=False)
    parser.set_defaults(module="train", passes_options=True)


def add_merge(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "merge",
        help="merge a LoRA adapter into its model",
        description="Merge an adapter into its base model, write the checkpoint, and check that logits stay the same.",
    )
    parser.add_argument("adapter", help="folder of the PEFT adapter")
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--model", help="base model (default: the one that the adapter names)")
    parser.set_defaults(module="merge")


def add_evaluate(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model against a test list, or compare two evaluations",
        description="Speak a test list and measure word errors, duration, speaker similarity, audio quality, speed "
        "and failures. Writes metrics, a report with plots, and audio of the ten worst items. If the command is "
        "killed, run it again to continue.",
    )
    parser.add_argument(
        "list",
        nargs="?",
        help="`datasets` folder or Hub name, folder of recordings and texts, Seed-TTS-eval .lst, or lines of text",
    )
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder of the evaluation to write")
    parser.add_argument("--overwrite", action="store_true", help="discard an earlier evaluation in the folder")
    parser.add_argument(
        "--compare", nargs=2, metavar="FOLDER", help="compare two evaluations of the same list item by item"
    )
    add_model_options(parser)
    items = parser.add_argument_group("test list")
    items.add_argument("--split", default="validation", help="split of datasets and recordings (default validation)")
    items.add_argument("--speaker", help="only this speaker's rows")
    items.add_argument("--language", help="language of items without one (default: detected)")
    items.add_argument("--limit", type=positive(int), metavar="N", help="most items, spread evenly over the list")
    items.add_argument("--title", help="name of the list in reports (default: its own)")
    items.add_argument(
        "--same-speaker-references",
        action="store_true",
        help="take references from other recordings of the same speaker",
    )
    items.add_argument(
        "--reference-seconds",
        type=positive(float),
        nargs=2,
        default=(3.0, 10.0),
        metavar=("MIN", "MAX"),
        help="durations of recordings that may be references (default 3 10)",
    )
    items.add_argument("--recorded-lengths", action="store_true", help="speak with the durations of the recordings")
    metrics = parser.add_argument_group("metrics (duration, speed and failures are always measured)")
    metrics.add_argument(
        "--asr",
        metavar="MODEL",
        nargs="?",
        const=DEFAULT_ASR,
        help=f"measure word errors with this speech recognition model: Hub name or CTranslate2 folder (without a "
        f"name: {DEFAULT_ASR})",
    )
    metrics.add_argument(
        "--speaker-encoder",
        metavar="MODEL",
        help="measure speaker similarity: 'resemblyzer' or an x-vector model, as microsoft/wavlm-base-plus-sv",
    )
    metrics.add_argument("--dnsmos", action="store_true", help="measure audio quality with DNSMOS")
    metrics.add_argument(
        "--skip-recordings",
        action="store_true",
        help="measure the generated speech only, not the recordings of the items",
    )
    speech = parser.add_argument_group("speech (sampling defaults: the model's)")
    speech.add_argument("--seed", type=int, default=0, help="seed of every text (default 0)")
    speech.add_argument("--speed", type=positive(float), default=1.0, help="divides durations (default 1.0)")
    speech.add_argument("--temperature", type=float)
    speech.add_argument("--top-k", type=int)
    speech.add_argument("--top-p", type=float)
    speech.add_argument("--min-p", type=float)
    speech.add_argument(
        "--batch-size", type=positive(int), default=16, metavar="N", help="most texts in a batch (default 16)"
    )
    parser.add_argument("--keep-audio", action="store_true", help="keep all generated speech")
    parser.add_argument("--samples", type=int, default=3, metavar="N", help="keep the first N as WAV (default 3)")
    parser.set_defaults(module="evaluate")
