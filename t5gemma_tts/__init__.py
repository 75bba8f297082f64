"""T5Gemma-TTS for the Hugging Face Hub.

Importing the package registers its classes with transformers' Auto classes. The command line delays this until it needs
a class, so that `--help` does not import torch.
"""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:  # the names of `_MODULES`, for type checkers
    from .model.configuration_t5gemma_tts import T5GemmaTTSCodecConfig as T5GemmaTTSCodecConfig
    from .model.configuration_t5gemma_tts import T5GemmaTTSConfig as T5GemmaTTSConfig
    from .model.engine import SpeechEngine as SpeechEngine
    from .model.engine import speech_requests as speech_requests
    from .model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration as T5GemmaTTSForConditionalGeneration
    from .model.processing_t5gemma_tts import T5GemmaTTSProcessor as T5GemmaTTSProcessor
    from .model.streaming import StreamWindows as StreamWindows
    from .model.xcodec2 import T5GemmaTTSCodecModel as T5GemmaTTSCodecModel
    from .model.xcodec2 import XCodec2 as XCodec2

__version__ = "0.1.0"

_MODULES = {
    "SpeechEngine": "model.engine",
    "StreamWindows": "model.streaming",
    "T5GemmaTTSCodecConfig": "model.configuration_t5gemma_tts",
    "T5GemmaTTSCodecModel": "model.xcodec2",
    "T5GemmaTTSConfig": "model.configuration_t5gemma_tts",
    "T5GemmaTTSForConditionalGeneration": "model.modeling_t5gemma_tts",
    "T5GemmaTTSProcessor": "model.processing_t5gemma_tts",
    "XCodec2": "model.xcodec2",
    "speech_requests": "model.engine",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _is_command_line() -> bool:
    """Whether this process runs `t5gemma-tts` or `python -m t5gemma_tts`."""
    argv = sys.orig_argv[1:]
    if len(argv) > 1 and argv[0] == "-m":
        return argv[1].split(".")[0] == __name__
    return bool(argv) and Path(argv[0]).stem == "t5gemma-tts"


if not _is_command_line():
    for _name in __all__:
        __getattr__(_name)
