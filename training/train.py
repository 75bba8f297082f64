"""Trains T5Gemma-TTS. Same as `t5gemma-tts train`.

accelerate launch --config_file accelerate_config.yaml training/train.py training/recipes/finetune.yaml
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # replace this folder by the repository in sys.path, so that a clone works without installation
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from t5gemma_tts.training.train import main

    main()
