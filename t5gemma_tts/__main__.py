"""Runs the command line `t5gemma-tts` for `python -m t5gemma_tts`."""

import sys

from .cli.main import main


if __name__ == "__main__":
    sys.exit(main())
