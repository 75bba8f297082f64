"""Parses the command line, runs a command of `t5gemma-tts`, and turns errors into messages and exit codes."""

import argparse
import importlib
import os
import sys

from .. import __version__
from .commands import COMMANDS
from .messages import verbosity
from .options import add_verbosity_options


OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="t5gemma-tts",
        description="Text to speech and voice cloning with T5Gemma-TTS, in English, Japanese and Chinese.",
    )
    parser.add_argument("--version", action="version", version=f"t5gemma-tts {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add_command in COMMANDS:
        add_command(subparsers)
    for subparser in subparsers.choices.values():
        if not subparser.get_default("passes_options"):
            add_verbosity_options(subparser)
    return parser


def is_expected(error: Exception) -> bool:
    """Whether the user's input or machine can cause an error. Other errors are bugs and show their traceback."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    # SafetensorError: damaged weights; StrictDataclassError: values of wrong types in config.json
    return isinstance(error, (ValueError, OSError, ImportError, RuntimeError, SafetensorError, StrictDataclassError))


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    parser = build_parser()
    try:
        arguments, extra = parser.parse_known_args(argv)
        if getattr(arguments, "passes_options", False):
            arguments.options = extra
        elif extra:
            parser.error(f"unrecognized arguments: {' '.join(extra)}")
        if check := getattr(arguments, "check", None):
            check(arguments)
    except SystemExit as stop:  # argparse has printed the error
        return int(stop.code or 0)
    try:
        with verbosity(arguments):
            if name := getattr(arguments, "plan_module", None):  # it refuses what needs no slow import
                arguments.plan = importlib.import_module(f".{name}", __package__).plan(arguments)
            module = importlib.import_module(f".{arguments.module}", __package__)
            getattr(module, getattr(arguments, "function", "run"))(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader closed the pipe; without this, Python prints a second error at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if arguments.debug or not is_expected(error):
            raise
        print(f"t5gemma-tts {arguments.command}: {error}", file=sys.stderr)
        return FAILED
    return OK
