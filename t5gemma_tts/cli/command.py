"""Exit codes of scripts: an expected error prints one line on standard error instead of a traceback."""

import functools
import sys
from collections.abc import Callable


def command(main: Callable[[list[str] | None], None]) -> Callable[[list[str] | None], int]:
    """
    Makes a function of command line arguments return an exit code: 0, or 1 after a message for what it raised
    (`ImportError`, `OSError`, `ValueError`: what commands raise on purpose).
    """

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> int:
        try:
            main(argv)
        except (ImportError, OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0

    return run


__all__ = ["command"]
