"""Commands that speak, and what belongs to their audio: speak, batch, encode, decode, detect. `commands` says more."""

import argparse
from typing import TYPE_CHECKING

from .options import (
    add_codec_options,
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


def add_detect(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "detect",
        help="tell whether audio files are marked as synthetic",
        description="Look for the mark of synthetic speech in the tags of audio files. A file without a mark can still "
        "be synthetic: tags are easily lost.",
    )
    parser.add_argument("audio", nargs="+", help="audio files")
    parser.set_defaults(module="detect")
