"""Loading a checkpoint for use: model, processor and codec, on the devices that the caller names."""

from dataclasses import dataclass, fields

import torch
from transformers.configuration_utils import PreTrainedConfig

from .model.configuration_t5gemma_tts import T5GemmaTTSConfig
from .model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from .model.processing_t5gemma_tts import T5GemmaTTSProcessor
from .model.xcodec2 import XCodec2


def pick_device(name: str = "auto") -> torch.device:
    """
    The device called `name`; "auto" is CUDA, else MPS, else the CPU.

    Raises:
        ValueError: if there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"`device` {name!r} is not usable here: {str(error).splitlines()[0]}") from error
    return device


def load_model(
    name: str,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    quantization: str | None = None,
) -> T5GemmaTTSForConditionalGeneration:
    """
    The model of a checkpoint, ready to speak.

    Args:
        name (`str`): Hub name or folder, in our layout or the original project's.
        device (`str`): as in `pick_device`.
        dtype (`str` or `torch.dtype`): "auto" is the stored one.
        quantization (`str`, *optional*): as in `quantization_config`.

    Raises:
        ValueError: for a device that is not there, or on which weights of that quantisation do not run.
    """
    device = pick_device(str(device))
    dtype = dtype if dtype == "auto" or isinstance(dtype, torch.dtype) else getattr(torch, dtype)
    if quantization is None:
        return T5GemmaTTSForConditionalGeneration.from_pretrained(name, dtype=dtype).to(device)
    return T5GemmaTTSForConditionalGeneration.from_pretrained(
        name, dtype=dtype, quantization=quantization, device_map={"": device}
    )


def load_processor(
    name: str, codec: str | None = None, codec_device: str | torch.device = "auto"
) -> T5GemmaTTSProcessor:
    """
    The processor of a checkpoint, with its codec or the one called `codec`.

    Raises:
        OSError: if there is no checkpoint called `name`, or no codec at `codec`.
        ValueError: if it is one of another model, or that codec does not fit the model's audio tokens.
    """
    T5GemmaTTSConfig.get_config_dict(name)  # says what is wrong before transformers misses a tokenizer
    processor = T5GemmaTTSProcessor.from_pretrained(name)
    processor.codec_device = pick_device(str(codec_device))
    if codec is not None:
        chosen = load_codec(codec, processor.codec_device)
        processor.sampling_rate = chosen.sampling_rate  # another codec may decode to another rate
        processor.codec = chosen
    return processor


def load_codec(name: str, device: str | torch.device = "auto") -> XCodec2:
    """A codec by Hub name or folder, or that of a T5Gemma-TTS checkpoint which has one."""
    device = pick_device(str(device))
    try:
        stored, _ = PreTrainedConfig.get_config_dict(name)
    except OSError as error:
        raise OSError(f"no codec at {name!r}: {error}") from error
    if stored.get("model_type") not in (T5GemmaTTSConfig.model_type, "t5gemma_voice"):
        return XCodec2.from_pretrained(name, device=device)
    config, _ = T5GemmaTTSConfig.get_config_dict(name)
    if config.get("codec_name_or_path"):
        return XCodec2.from_pretrained(config["codec_name_or_path"], device=device)
    return XCodec2.from_pretrained(name, subfolder="codec", device=device)


@dataclass(frozen=True)
class ModelOptions:
    """
    Which checkpoint is to speak, and where its parts shall be.

    Args:
        model (`str`): Hub name or folder, in our layout or the original project's.
        codec (`str`, *optional*): instead of its own.
        device (`str`): as in `pick_device`.
        dtype (`str`), quantization (`str`, *optional*): as in `load_model`.
        encoder_device, codec_device (`str`, *optional*): of text encoder and codec; the model's if not given.
        low_vram (`bool`): bfloat16 in any case, and encoder and codec on the CPU unless they have devices.
    """

    model: str
    codec: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    quantization: str | None = None
    encoder_device: str | None = None
    codec_device: str | None = None
    low_vram: bool = False

    @classmethod
    def of(cls, options: object) -> "ModelOptions":
        """From an object that has attributes of these names, such as parsed arguments."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})

    def load(self) -> tuple[T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor]:
        """
        Model and processor.

        Raises:
            as `load_model` and `load_processor`.
        """
        device = pick_device(self.device)
        away = "cpu" if self.low_vram else str(device)
        dtype = "bfloat16" if self.low_vram else self.dtype
        processor = load_processor(self.model, self.codec, self.codec_device or away)  # fails sooner than the model
        model = load_model(self.model, device=device, dtype=dtype, quantization=self.quantization)
        if self.encoder_device or self.low_vram:
            model.get_encoder().to(pick_device(self.encoder_device or away))
        return model, processor


__all__ = ["ModelOptions", "load_codec", "load_model", "load_processor", "pick_device"]
