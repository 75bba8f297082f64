"""Evaluates a model against a test list, or compares two evaluations: `t5gemma-tts evaluate`.

python training/evaluate.py LIST --model MODEL --output FOLDER --asr WHISPER
python training/evaluate.py --compare FOLDER FOLDER --output FOLDER
"""

import sys
from pathlib import Path


if __name__ == "__main__":
    # replace this folder by the repository in sys.path: works without installation, avoids name clashes
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from t5gemma_tts.cli.main import main

    sys.exit(main(["evaluate", *sys.argv[1:]]))
