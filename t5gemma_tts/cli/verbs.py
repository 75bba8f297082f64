"""The verbs of `t5gemma-tts` and their options; `module` is where a verb's work is done.

Nothing heavy is imported here: a verb's module is imported when it runs.
"""

import argparse
from typing import TYPE_CHECKING

from .options import DEFAULT_ASR, add_address, add_codec, add_limits, add_model, add_sampling, add_voice, positive


if TYPE_CHECKING:  # argparse keeps the name to itself
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]


def add_speak(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "speak",
        help="speak a text into an audio file",
        description="Speak a text. Each line that is not blank is an utterance of its own; several of them, or several "
        "samples, make numbered files (out-1.wav, out-2.wav, ...).",
    )
    parser.add_argument("text", nargs="?", help="what to say; '-' or nothing reads standard input")
    parser.add_argument("--text-file", metavar="FILE", help="read the text from a file (UTF-8) instead")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="audio file to write: .wav, .flac or .ogg"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--stream",
        action="store_true",
        help="write the sound of one line while it is spoken; with '-o -' raw 16-bit samples to standard output",
    )
    parser.add_argument(
        "--long",
        action="store_true",
        help="take all lines as one text, spoken in pieces and written into one file, or as with --stream",
    )
    parser.add_argument(
        "--tokens", metavar="FILE", help="also write the audio tokens, a line each, as `decode` reads them"
    )
    add_model(parser)
    add_voice(parser)
    speech = parser.add_argument_group("speech")
    speech.add_argument("--language", help="en, ja or zh; detected if not given")
    speech.add_argument("--duration", type=positive(float), metavar="SECONDS", help="length; estimated if not given")
    speech.add_argument("--speed", type=positive(float), default=1.0, help="divides the estimated length (default 1.0)")
    sampling = parser.add_argument_group("sampling (defaults: the model's)")
    sampling.add_argument(
        "--num-samples", type=positive(int), default=1, metavar="N", help="different takes of each line"
    )
    sampling.add_argument("--seed", type=int, help="repeatable results, of each line whatever the others are")
    add_sampling(sampling)
    parser.add_argument(
        "--batch-size", type=positive(int), default=8, metavar="N", help="lines spoken at once (default 8)"
    )
    parser.set_defaults(module="speak")


def add_batch(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "batch",
        help="speak all rows of a dataset into another one",
        description="Speak a dataset. Killed at any time, the same command goes on. Rows that fail say why.",
    )
    parser.add_argument(
        "source",
        help="lines of text (.txt), JSON Lines (.jsonl), or a folder or Hub name of a dataset; columns: text, and "
        "optionally id, language, duration_seconds, speaker, reference_audio, reference_text",
    )
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder of the dataset to write")
    parser.add_argument("--overwrite", action="store_true", help="discard an earlier batch there")
    parser.add_argument(
        "--keep", choices=["audio", "codes", "both"], default="both", help="what of the speech (default both)"
    )
    dataset = parser.add_argument_group("dataset")
    dataset.add_argument("--config-name", metavar="NAME", help="of a dataset from the Hub")
    dataset.add_argument("--split", default="train", help="of a dataset that has several (default train)")
    dataset.add_argument("--text-column", metavar="NAME", help="if it is not called as usual")
    dataset.add_argument("--id-column", metavar="NAME", help="if not called as usual; without one, rows are counted")
    voice = add_voice(parser)
    voice.add_argument("--voices-dir", metavar="FOLDER", help="voices as `serve` keeps them, which `speaker` names")
    speech = parser.add_argument_group("speech")
    speech.add_argument("--language", help="of rows without one: en, ja or zh; detected if not given")
    speech.add_argument("--speed", type=positive(float), default=1.0, help="divides estimated lengths (default 1.0)")
    sampling = parser.add_argument_group("sampling (defaults: the model's)")
    sampling.add_argument("--seed", type=int, default=0, help="of which each row gets its own (default 0)")
    add_sampling(sampling)
    work = parser.add_argument_group("work")
    work.add_argument("--engine", choices=["local", "ray"], default="local", help="this process, or a Ray cluster")
    work.add_argument("--workers", type=positive(int), metavar="N", help="Ray: at most so many (default: all it has)")
    work.add_argument(
        "--gpus-per-worker", type=float, metavar="N", help="Ray: 0.5 lets two share one (default: 1 if there are any)"
    )
    work.add_argument(
        "--batch-size", type=positive(int), default=16, metavar="N", help="rows spoken at once (default 16)"
    )
    work.add_argument(
        "--rows-per-shard",
        type=positive(int),
        default=64,
        metavar="N",
        help="rows between two files on disk: what a killed worker loses at most (default 64)",
    )
    add_model(parser)
    parser.set_defaults(module="batch")


def add_serve(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "serve",
        help="answer OpenAI's speech API over HTTP",
        description="Serve OpenAI's speech API. Requests that arrive together are spoken together.",
    )
    add_address(parser, port=8000)
    parser.add_argument(
        "--served-model-name",
        metavar="NAME",
        action="append",
        help="what clients call the model; can be repeated (default: the last part of --model)",
    )
    parser.add_argument("--voices-dir", metavar="FOLDER", help="where voices are kept; without it none can be")
    parser.add_argument("--api-key-file", metavar="FILE", help="one key a line; without it everybody is let in")
    limits = add_limits(parser)
    limits.add_argument(
        "--drain-seconds",
        type=positive(float),
        default=120.0,
        metavar="SECONDS",
        help="for what was taken, after SIGTERM (default 120)",
    )
    add_model(parser)
    parser.set_defaults(module="serve")


def add_ui(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "ui",
        help="speak from a web page",
        description="Serve a web page to speak with: voices from recordings, lengths, several samples, sound at once.",
    )
    add_address(parser, port=7860)
    parser.add_argument(
        "--asr",
        metavar="MODEL",
        default=DEFAULT_ASR,
        help=f"speech recognition model that transcribes recordings, loaded at first use (default {DEFAULT_ASR})",
    )
    limits = add_limits(parser)
    limits.add_argument(
        "--max-samples", type=positive(int), default=4, metavar="N", help="of a text at once (default 4)"
    )
    add_model(parser)
    parser.add_argument(
        "--low-memory",
        action="store_true",
        help="one speech at a time, its sound decoded in short pieces; --quantization int8 on the CPU, else --low-vram",
    )
    parser.set_defaults(module="ui")


def add_encode(verbs: "Verbs") -> None:
    parser = verbs.add_parser("encode", help="audio files to audio tokens", description="Encode audio with a codec.")
    parser.add_argument("audio", nargs="+", help="audio files, of any sample rate")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="token file, a line per audio file (default: standard output)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    add_codec(parser)
    parser.set_defaults(module="codec", function="encode")


def add_decode(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "decode", help="audio tokens to audio files", description="Decode audio tokens with a codec."
    )
    parser.add_argument(
        "tokens", help="token file: whitespace-separated numbers, a line per clip; '-' is standard input"
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="audio file; several clips are numbered")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    add_codec(parser)
    parser.set_defaults(module="codec", function="decode")


def add_info(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "info", help="what a checkpoint is", description="Describe a checkpoint without loading it."
    )
    parser.add_argument("model", metavar="MODEL", help="Hub name or folder")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(module="info")


def add_convert(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "convert",
        help="turn a checkpoint of the original project into ours",
        description="Convert a training bundle (.pth, with LoRA or without) or an export of the original project.",
    )
    parser.add_argument("source", help=".pth bundle, or folder or Hub name of an exported checkpoint")
    parser.add_argument("output", help="folder to write")
    parser.add_argument(
        "--backbone-config", metavar="NAME", help="T5Gemma whose architecture a bundle has (default: its own note)"
    )
    parser.add_argument(
        "--tokenizer", metavar="NAME", help="tokenizer to include (default: the one the checkpoint names)"
    )
    parser.add_argument("--codec", metavar="NAME", help="codec: a folder is copied in, a Hub name is noted")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="dtype of the weights (default: as stored)"
    )
    parser.add_argument("--keep-adapter", action="store_true", help="LoRA bundles: write base model and adapter apart")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    parser.set_defaults(module="convert")


def add_evaluate(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "evaluate",
        help="measure a model against a test list, or compare two evaluations",
        description="Speak a test list and measure what comes: words, length, voice, sound, speed, failures. Writes "
        "figures, a report with pictures, and the worst ten as sound. The same command goes on where it was killed.",
    )
    parser.add_argument(
        "list",
        nargs="?",
        help="`datasets` folder or Hub name, folder of recordings with texts, Seed-TTS-eval's .lst, or lines of text",
    )
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder of the evaluation")
    parser.add_argument("--overwrite", action="store_true", help="discard an earlier evaluation there")
    parser.add_argument(
        "--compare", nargs=2, metavar="FOLDER", help="two evaluations of the same list: paired differences"
    )
    add_model(parser)
    items = parser.add_argument_group("test list")
    items.add_argument("--split", default="validation", help="of datasets and recordings (default validation)")
    items.add_argument("--speaker", help="only this speaker's rows")
    items.add_argument("--language", help="of texts whose list names none; detected if not given")
    items.add_argument("--limit", type=positive(int), metavar="N", help="only so many, spread evenly")
    items.add_argument("--title", help="name of the list in reports (default: its own)")
    items.add_argument(
        "--same-speaker-references", action="store_true", help="references from the same speaker's other recordings"
    )
    items.add_argument(
        "--reference-seconds",
        type=positive(float),
        nargs=2,
        default=(3.0, 10.0),
        metavar=("MIN", "MAX"),
        help="lengths of recordings that may be such references (default 3 10)",
    )
    items.add_argument("--recorded-lengths", action="store_true", help="ask for the lengths of the recordings")
    measures = parser.add_argument_group("measures (length, speed and failures always)")
    measures.add_argument(
        "--asr",
        metavar="MODEL",
        nargs="?",
        const=DEFAULT_ASR,
        help=f"words heard by this model: Hub name, or CTranslate2 folder (without a name: {DEFAULT_ASR})",
    )
    measures.add_argument(
        "--speaker-encoder",
        metavar="MODEL",
        help="similarity of voices by 'resemblyzer', or an x-vector model such as microsoft/wavlm-base-plus-sv",
    )
    measures.add_argument("--dnsmos", action="store_true", help="rate the sound")
    measures.add_argument(
        "--skip-recordings", action="store_true", help="measure speech only, not the recordings of the same words"
    )
    speech = parser.add_argument_group("speech (sampling: the model's where not given)")
    speech.add_argument("--seed", type=int, default=0, help="of every text (default 0)")
    speech.add_argument("--speed", type=positive(float), default=1.0, help="divides lengths (default 1.0)")
    speech.add_argument("--temperature", type=float)
    speech.add_argument("--top-k", type=int)
    speech.add_argument("--top-p", type=float)
    speech.add_argument("--min-p", type=float)
    speech.add_argument(
        "--batch-size", type=positive(int), default=16, metavar="N", help="texts spoken at once (default 16)"
    )
    parser.add_argument("--keep-audio", action="store_true", help="keep all speech")
    parser.add_argument("--samples", type=int, default=3, metavar="N", help="keep the first N as WAV (default 3)")
    parser.set_defaults(module="evaluate")


def add_prepare(verbs: "Verbs") -> None:
    parser = verbs.add_parser("prepare", help="make a dataset of audio codes to train on", add_help=False)
    parser.set_defaults(module="prepare", takes_options=True)


def add_train(verbs: "Verbs") -> None:
    parser = verbs.add_parser("train", help="train a model, from a YAML recipe or from options", add_help=False)
    parser.set_defaults(module="train", takes_options=True)


def add_merge(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "merge",
        help="merge a LoRA adapter into its model",
        description="Write base model plus adapter as one checkpoint, and check that the logits stay the same.",
    )
    parser.add_argument("adapter", help="folder that PEFT saved")
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--model", help="base model, if not the one that the adapter names")
    parser.set_defaults(module="merge")


def add_export(verbs: "Verbs") -> None:
    parser = verbs.add_parser(
        "export",
        help="write a folder that is ready for the Hub",
        description="Write weights, processor, codec, code and model card into one folder. It loads with "
        "trust_remote_code=True where this project is not installed.",
    )
    parser.add_argument("model", metavar="MODEL", help="Hub name or folder, or 'nano', the bundled voice")
    parser.add_argument("output", metavar="FOLDER", help="folder to write")
    parser.set_defaults(module="export")


VERBS = (
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
)
