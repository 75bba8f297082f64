"""The commands of `t5gemma-tts` and their options. `module` names the module of `cli` that runs a command.

This module imports nothing slow, so that `--help` is fast: `main` imports a command's module when it runs.
"""

import argparse
from typing import TYPE_CHECKING

from .options import (
    DEFAULT_ASR,
    add_address_options,
    add_codec_options,
    add_limit_options,
    add_model_options,
    add_reading_options,
    add_sampling_options,
    add_voice_options,
    add_watermark_option,
    positive,
)


if TYPE_CHECKING:  # a private name of argparse
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_speak(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "speak",
        help="speak a text into an audio file",
        description="Speak a text. Each line that is not blank becomes one audio file. Several lines or samples "
        "make numbered files (out-1.wav, out-2.wav, ...).",
    )
    parser.add_argument("text", nargs="?", help="text to speak; '-' or nothing reads standard input")
    parser.add_argument("--text-file", metavar="FILE", help="read the text from a file (UTF-8) instead")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="audio file to write: .wav, .flac or .ogg; its folder is made; {n} in it is the number of the file, "
        "{seed} its seed, as in 'out/{n:03}-{seed}.wav'",
    )
    add_watermark_option(parser)
    parser.add_argument("--play", action="store_true", help="play the speech; -o is not needed then")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--stream",
        action="store_true",
        help="write the audio of one line while it is generated; '-o -' writes raw 16-bit samples to standard output",
    )
    parser.add_argument(
        "--long",
        action="store_true",
        help="speak all lines as one long text, piece by piece, into one file; '-o -' works as with --stream",
    )
    parser.add_argument(
        "--tokens",
        metavar="FILE",
        help="also write the audio tokens, one line per file, in the format that `decode` reads",
    )
    add_model_options(parser)
    add_voice_options(parser)
    speech = parser.add_argument_group("speech")
    speech.add_argument("--language", help="en, ja or zh (default: detected)")
    speech.add_argument(
        "--duration", type=positive(float), metavar="SECONDS", help="duration of the speech (default: estimated)"
    )
    speech.add_argument(
        "--speed", type=positive(float), default=1.0, help="divides the estimated duration (default 1.0)"
    )
    add_reading_options(speech)
    sampling = parser.add_argument_group("sampling (defaults: the model's)")
    sampling.add_argument(
        "--num-samples", type=positive(int), default=1, metavar="N", help="number of samples of each line (default 1)"
    )
    sampling.add_argument(
        "--seed", type=int, help="random seed, for repeatable results; a line does not depend on the other lines"
    )
    add_sampling_options(sampling)
    parser.add_argument(
        "--batch-size", type=positive(int), default=8, metavar="N", help="most lines in a batch (default 8)"
    )

    def require_output(arguments: argparse.Namespace) -> None:
        if arguments.output is None and not arguments.play:
            parser.error("the following arguments are required: -o/--output or --play")

    parser.set_defaults(module="speak", plan_module="speak_plan", check=require_output)


def add_batch(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "batch",
        help="speak all rows of a dataset into another one",
        description="Speak the rows of a dataset. If the command is killed, run it again to continue. Rows that fail "
        "get an error message.",
    )
    parser.add_argument(
        "source",
        help="lines of text (.txt), JSON Lines (.jsonl), or a folder or Hub name of a dataset; columns: text, and "
        "optionally id, language, duration_seconds, speaker, reference_audio, reference_text",
    )
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder of the dataset to write")
    parser.add_argument("--overwrite", action="store_true", help="discard an earlier batch in the folder")
    parser.add_argument(
        "--keep", choices=["audio", "codes", "both"], default="both", help="what to store of the speech (default both)"
    )
    add_watermark_option(parser)
    dataset = parser.add_argument_group("dataset")
    dataset.add_argument("--config-name", metavar="NAME", help="configuration of a dataset from the Hub")
    dataset.add_argument("--split", default="train", help="split of the dataset (default train)")
    dataset.add_argument("--text-column", metavar="NAME", help="name of the text column (default: a usual name)")
    dataset.add_argument(
        "--id-column", metavar="NAME", help="name of the id column (default: a usual name, else the row number)"
    )
    voice = add_voice_options(parser)
    voice.add_argument(
        "--voices-dir", metavar="FOLDER", help="folder of voices stored by `serve`; the column `speaker` names them"
    )
    speech = parser.add_argument_group("speech")
    speech.add_argument("--language", help="language of rows without one: en, ja or zh (default: detected)")
    speech.add_argument("--speed", type=positive(float), default=1.0, help="divides estimated durations (default 1.0)")
    add_reading_options(speech)
    sampling = parser.add_argument_group("sampling (defaults: the model's)")
    sampling.add_argument("--seed", type=int, default=0, help="base seed, from which each row gets its own (default 0)")
    add_sampling_options(sampling)
    work = parser.add_argument_group("work")
    work.add_argument(
        "--engine", choices=["local", "ray"], default="local", help="run in this process or on a Ray cluster"
    )
    work.add_argument("--workers", type=positive(int), metavar="N", help="Ray: most workers (default: as many as fit)")
    work.add_argument(
        "--gpus-per-worker",
        type=float,
        metavar="N",
        help="Ray: GPUs per worker; 0.5 lets two share one (default: 1 if the cluster has GPUs)",
    )
    work.add_argument(
        "--batch-size", type=positive(int), default=16, metavar="N", help="most rows in a batch (default 16)"
    )
    work.add_argument(
        "--rows-per-shard",
        type=positive(int),
        default=64,
        metavar="N",
        help="rows per file; a killed worker loses at most these (default 64)",
    )
    add_model_options(parser)
    parser.set_defaults(module="batch")


def add_serve(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "serve",
        help="serve OpenAI's speech API over HTTP",
        description="Serve OpenAI's speech API. Requests that arrive together share a batch.",
    )
    add_address_options(parser, port=8000)
    parser.add_argument(
        "--served-model-name",
        metavar="NAME",
        action="append",
        help="name that clients use for the model; can be repeated (default: the last part of --model)",
    )
    parser.add_argument(
        "--strict-models",
        action="store_true",
        help="refuse requests for other model names (default: the model serves every name)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse requests with unknown fields (default: ignore them, and name them in the header X-Ignored-Fields)",
    )
    parser.add_argument(
        "--voices-dir", metavar="FOLDER", help="folder of stored voices (default: clients cannot store voices)"
    )
    parser.add_argument(
        "--voice-alias",
        metavar="NAME=VOICE",
        action="append",
        default=[],
        help="voice to use for a name that clients send, such as alloy=anna; can be repeated (default: the model's own "
        "voice for OpenAI's names)",
    )
    parser.add_argument("--voice-alias-file", metavar="FILE", help="file with one NAME=VOICE per line")
    parser.add_argument(
        "--api-key-file", metavar="FILE", help="file with one API key per line (default: everyone may connect)"
    )
    add_watermark_option(parser)
    limits = add_limit_options(parser)
    limits.add_argument(
        "--max-lexicon-entries",
        type=int,
        default=0,
        metavar="N",
        help="most pronunciations that a request may bring in its field `lexicon` (default 0: the field is off)",
    )
    limits.add_argument(
        "--max-connections-per-address",
        type=positive(int),
        default=256,
        metavar="N",
        help="most open connections of an address; one more closes the one that has waited longest for a complete "
        "request (default 256)",
    )
    limits.add_argument(
        "--drain-seconds",
        type=positive(float),
        default=120.0,
        metavar="SECONDS",
        help="time for accepted requests after SIGTERM (default 120)",
    )
    add_model_options(parser)
    parser.set_defaults(module="serve")


def add_ui(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "ui",
        help="serve a web page that speaks texts",
        description="Serve a web page: cloned voices, chosen lengths, several samples, live playback.",
    )
    add_address_options(parser, port=7860)
    parser.add_argument(
        "--asr",
        metavar="MODEL",
        default=DEFAULT_ASR,
        help=f"speech recognition model for the transcripts of recordings, loaded at first use (default {DEFAULT_ASR})",
    )
    limits = add_limit_options(parser)
    limits.add_argument(
        "--max-samples", type=positive(int), default=4, metavar="N", help="most samples of a text (default 4)"
    )
    add_model_options(parser)
    parser.add_argument(
        "--low-memory",
        action="store_true",
        help="speak one text at a time, decode in short windows; implies int8 weights on the CPU, else --low-vram",
    )
    parser.set_defaults(module="ui")


def add_encode(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "encode", help="encode audio files as audio tokens", description="Encode audio with a codec."
    )
    parser.add_argument("audio", nargs="+", help="audio files of any sampling rate")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="token file, one line per audio file (default: standard output)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    add_codec_options(parser)
    parser.set_defaults(module="codec", function="encode")


def add_decode(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "decode", help="decode audio tokens to audio files", description="Decode audio tokens with a codec."
    )
    parser.add_argument("tokens", help="token file: one line of numbers per audio file; '-' reads standard input")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="audio file to write; several files are numbered"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    add_codec_options(parser)
    parser.set_defaults(module="codec", function="decode")


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


def add_detect(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "detect",
        help="tell whether audio files are marked as synthetic",
        description="Look for the mark of synthetic speech in the tags of audio files. A file without a mark can still "
        "be synthetic: tags are easily lost.",
    )
    parser.add_argument("audio", nargs="+", help="audio files")
    parser.set_defaults(module="detect")


def add_completion(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Print a script that completes commands and options. For bash: "
        'eval "$(t5gemma-tts completion bash)" in ~/.bashrc. It needs the extra `completion`.',
    )
    parser.add_argument("shell", choices=["bash", "zsh"], help="the shell")
    parser.set_defaults(module="completion")


COMMANDS = (
    add_speak,
    add_batch,
    add_serve,
    add_ui,
    add_encode,
    add_decode,
    add_info,
    add_convert,
    add_export,
    add_prepare,
    add_train,
    add_merge,
    add_evaluate,
    add_detect,
    add_completion,
)
