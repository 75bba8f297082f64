"""How much the command line says: `-q` leaves out all but errors and results, `-v` adds details."""

import logging
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager


logger = logging.getLogger("t5gemma_tts")
_quiet = False


@contextmanager
def verbosity(arguments: Namespace) -> Iterator[None]:
    """Applies `--quiet` and `--verbose` to warnings, log messages, progress bars and `announce`."""
    global _quiet
    quiet, verbose = getattr(arguments, "quiet", False), getattr(arguments, "verbose", False)
    asked_to_change = getattr(arguments, "trim_silence", None) or getattr(arguments, "normalize_loudness", None)
    level = logging.ERROR if quiet else logging.INFO if verbose or asked_to_change else logging.WARNING
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("t5gemma-tts: %(message)s"))
    before = logger.level, warnings.formatwarning, _quiet
    logger.addHandler(handler)
    logger.setLevel(level)
    warnings.formatwarning = _in_one_line
    _quiet = quiet
    try:
        with warnings.catch_warnings():
            if quiet:
                warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(handler)
        level, warnings.formatwarning, _quiet = before
        logger.setLevel(level)


def announce(line: str) -> None:
    """Prints a line about what was done on standard output, unless `--quiet` was given."""
    if not _quiet:
        print(line)


def shows_progress() -> bool:
    """Whether progress bars are wanted: on a terminal, without `--quiet`."""
    return sys.stderr.isatty() and not _quiet


def _in_one_line(message: Warning | str, *args: object, **kwargs: object) -> str:
    """A warning without the file, line and source, which do not help the user."""
    return f"t5gemma-tts: warning: {message}\n"


__all__ = ["announce", "logger", "shows_progress", "verbosity"]
