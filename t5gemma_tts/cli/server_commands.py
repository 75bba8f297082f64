"""Commands that serve: serve, ui. `commands` says more."""

import argparse
from typing import TYPE_CHECKING

from .options import (
    DEFAULT_ASR,
    add_address_options,
    add_limit_options,
    add_model_options,
    add_watermark_option,
    positive,
)


if TYPE_CHECKING:  # a private name of argparse
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


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
