"""Exit codes of scripts: an expected error prints one line on standard error instead of a traceback."""

import functools
import sys
from collections.abc import Callable


def command(main: Callable[[list[str] | None], None]) -> Callable[[list[str] | None], int]:
    """
    Decorates the main function of a script, so that it returns an exit code.

    The code is 0, or 1 after an `ImportError`, `OSError` or `ValueError`, whose message goes to standard error.
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
