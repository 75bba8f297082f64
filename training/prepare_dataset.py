"""Prepares a dataset of audio codes for training. Same as `t5gemma-tts prepare`.

python training/prepare_dataset.py --source FOLDER_OR_HUB_NAME --output FOLDER --codec CODEC
accelerate launch training/prepare_dataset.py --source ... --output ... --codec ...
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # replace this folder by the repository in sys.path, so that a clone works without installation
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from t5gemma_tts.cli.main import main

    sys.exit(main(["prepare", *sys.argv[1:]]))
