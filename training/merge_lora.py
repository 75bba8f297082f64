"""Merges a LoRA adapter into its base model. Same as `t5gemma-tts merge`.

python training/merge_lora.py ADAPTER OUTPUT [--model BASE]
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # replace this folder by the repository in sys.path, so that a clone works without installation
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from t5gemma_tts.cli.main import main

    sys.exit(main(["merge", *sys.argv[1:]]))
