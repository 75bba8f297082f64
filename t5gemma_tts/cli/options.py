"""Groups of options that several commands of `t5gemma-tts` share."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from ..checkpoints import NANO
from ..model.marks import WATERMARKS


Number = TypeVar("Number", int, float)

DEFAULT_ASR = "openai/whisper-large-v3-turbo"


def positive(kind: type[Number]) -> Callable[[str], Number]:
    """An argparse type for finite numbers above 0."""

    def parse(text: str) -> Number:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return value

    parse.__name__ = f"{kind.__name__} above 0"
    return parse


def add_verbosity_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("messages").add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="print errors and results only")
    group.add_argument(
        "-v", "--verbose", action="store_true", help="print details, such as the loudness of a reference"
    )


def add_watermark_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watermark",
        choices=WATERMARKS,
        default="metadata",
        help="how files are marked as synthetic speech: by a tag, or not at all (default metadata)",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model and devices")
    group.add_argument(
        "--model",
        metavar="NAME",
        default=NANO,
        help="Hub name or folder, in our layout or the original project's (default: nano, the bundled English voice)",
    )
    group.add_argument("--codec", metavar="NAME", help="codec to use instead of the checkpoint's own")
    group.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 or mps (default: the best available)")
    group.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16", "auto"],
        default="auto",
        help="dtype of the model (default: as stored)",
    )
    group.add_argument(
        "--quantization",
        metavar="NAME",
        help="weight quantization: int8 on the CPU; torchao-int8, bnb-8bit and others on GPUs",
    )
    group.add_argument("--encoder-device", help="device of the text encoder (default: the model's)")
    group.add_argument("--codec-device", help="device of the codec and of speech recognition (default: the model's)")
    group.add_argument(
        "--low-vram",
        action="store_true",
        help="short for --dtype bfloat16 --codec-device cpu --encoder-device cpu --batch-size 1",
    )
    references = parser.add_argument_group("reference recordings (default: the checkpoint's setting, off for nano)")
    references.add_argument(
        "--trim-silence",
        action=argparse.BooleanOptionalAction,
        help="take away the silence at both ends of a reference",
    )
    references.add_argument(
        "--normalize-loudness",
        action=argparse.BooleanOptionalAction,
        help="bring the loudness of a reference to -23 LUFS",
    )


def add_voice_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("voice")
    group.add_argument(
        "--reference", metavar="AUDIO", help="recording of the voice to clone; 3 to 10 seconds work best"
    )
    group.add_argument("--reference-text", metavar="TEXT", help="transcript of the recording")
    group.add_argument(
        "--asr",
        metavar="MODEL",
        nargs="?",
        const=DEFAULT_ASR,
        help=f"transcribe the reference with this speech recognition model (without a name: {DEFAULT_ASR})",
    )
    return group


def add_reading_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        help="read numbers, dates, symbols and abbreviations as words (default: as the model does)",
    )
    group.add_argument(
        "--lexicon",
        metavar="FILE",
        help="pronunciations: lines of a word, a tab, and another spelling or /phonemes/",
    )


def add_sampling_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--temperature", type=float, help="0 selects the most likely token")
    group.add_argument("--top-k", type=int)
    group.add_argument("--top-p", type=float)
    group.add_argument("--min-p", type=float)


def add_codec_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--codec", metavar="NAME", required=True, help="Hub name or folder of a codec, or a checkpoint with one"
    )
    parser.add_argument("--device", default="cpu", help="device of the codec (default cpu)")


def add_address_options(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)"
    )
    parser.add_argument(
        "--port", type=int, default=port, help=f"port to listen on (default {port}); 0 takes any free port"
    )
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], default="info", help="log level (default info)"
    )


def add_limit_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Adds the limits of the server and the web page, and returns their group."""
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--max-batch-size", type=positive(int), default=16, metavar="N", help="most texts in a batch (default 16)"
    )
    limits.add_argument(
        "--queue-size", type=int, default=64, metavar="N", help="most further texts that wait (default 64)"
    )
    limits.add_argument(
        "--deadline",
        type=positive(float),
        default=300.0,
        metavar="SECONDS",
        help="time limit of one text, or of one piece of a long text (default 300)",
    )
    limits.add_argument(
        "--max-characters",
        type=positive(int),
        default=4096,
        metavar="N",
        help="longest text (default 4096, at most 100000)",
    )
    limits.add_argument(
        "--max-reference-seconds",
        type=positive(float),
        default=30.0,
        metavar="SECONDS",
        help="longest reference recording (default 30)",
    )
    return limits
