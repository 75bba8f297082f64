"""Runs `t5gemma-tts ui` as a Space. The Space's variables set the options."""

import os
import sys

from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.cli.main import main


options = ["--model", os.environ.get("MODEL", NANO), "--asr", os.environ.get("ASR", "openai/whisper-base")]
if os.environ.get("LOW_MEMORY", "1") != "0":
    options.append("--low-memory")
port = os.environ.get("GRADIO_SERVER_PORT", "7860")
sys.exit(main(["ui", "--host", "0.0.0.0", "--port", port, *options]))
