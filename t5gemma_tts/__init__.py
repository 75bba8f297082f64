"""T5Gemma-TTS for the Hugging Face Hub."""

from .configuration_t5gemma_tts import T5GemmaTTSCodecConfig, T5GemmaTTSConfig
from .modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from .processing_t5gemma_tts import T5GemmaTTSProcessor
from .xcodec2_t5gemma_tts import T5GemmaTTSCodecModel, XCodec2


__version__ = "0.1.0"

__all__ = [
    "T5GemmaTTSCodecConfig",
    "T5GemmaTTSCodecModel",
    "T5GemmaTTSConfig",
    "T5GemmaTTSForConditionalGeneration",
    "T5GemmaTTSProcessor",
    "XCodec2",
]
