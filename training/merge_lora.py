"""Merges a LoRA adapter into its model. The same as `t5gemma-tts merge`.

python training/merge_lora.py ADAPTER OUTPUT [--model BASE]
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # the repository, not this folder: a clone works without installation
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from t5gemma_tts.cli.main import main

    sys.exit(main(["merge", *sys.argv[1:]]))
