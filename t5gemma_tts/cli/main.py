"""Parses the command line, runs a verb of `t5gemma-tts`, and turns errors into messages and exit codes."""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from .. import __version__
from .verbs import VERBS


OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="t5gemma-tts",
        description="Text to speech and voice cloning with T5Gemma-TTS, in English, Japanese and Chinese.",
    )
    parser.add_argument("--version", action="version", version=f"t5gemma-tts {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for add in VERBS:
        add(verbs)
    return parser


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings without file, line and source: a user of the command line cannot do anything with those."""
    before = warnings.formatwarning

    def in_one_line(message: Warning | str, *details: object, **more: object) -> str:
        return f"t5gemma-tts: warning: {message}\n"

    warnings.formatwarning = in_one_line
    try:
        yield
    finally:
        warnings.formatwarning = before


def is_expected(error: Exception) -> bool:
    """Whether it can come from the user's input or machine. Anything else is a fault here, and shows its traceback."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    # the last two: damaged weights, and a config.json with values of wrong types
    return isinstance(error, (ValueError, OSError, ImportError, RuntimeError, SafetensorError, StrictDataclassError))


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    parser = build_parser()
    try:
        arguments, others = parser.parse_known_args(argv)
        if getattr(arguments, "takes_options", False):
            arguments.options = others
        elif others:
            parser.error(f"unrecognized arguments: {' '.join(others)}")
    except SystemExit as stop:  # argparse has printed what is wrong
        return int(stop.code or 0)
    module = importlib.import_module(f".{arguments.module}", __package__)
    try:
        with plain_warnings():
            getattr(module, getattr(arguments, "function", "run"))(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader has gone; keep Python from complaining once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if arguments.debug or not is_expected(error):
            raise
        print(f"t5gemma-tts {arguments.verb}: {error}", file=sys.stderr)
        return FAILED
    return OK
