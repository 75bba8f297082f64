"""T5Gemma-TTS for the Hugging Face Hub."""

from .configuration_t5gemma_tts import T5GemmaTTSCodecConfig, T5GemmaTTSConfig
from .modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration


__all__ = ["T5GemmaTTSCodecConfig", "T5GemmaTTSConfig", "T5GemmaTTSForConditionalGeneration"]
