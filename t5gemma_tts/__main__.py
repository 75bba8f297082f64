"""`python -m t5gemma_tts` is the command `t5gemma-tts`."""

import sys

from .cli.main import main


if __name__ == "__main__":
    sys.exit(main())
