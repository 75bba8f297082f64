"""Loads model, processor and codec of a checkpoint on given devices."""

from dataclasses import dataclass, fields

import torch
from transformers.configuration_utils import PreTrainedConfig

from .adapters import base_of_adapter, merge_into
from .checkpoints import resolve_checkpoint
from .model.configuration_t5gemma_tts import T5GemmaTTSConfig
from .model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from .model.processing_t5gemma_tts import T5GemmaTTSProcessor
from .model.quantization import quantization_config
from .model.xcodec2 import XCodec2


def pick_device(name: str = "auto") -> torch.device:
    """
    The torch device of a name. "auto" selects CUDA, else MPS, else the CPU.

    Raises:
        ValueError: if the device is not available on this machine.
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
    Loads the model of a checkpoint in evaluation mode. An adapter is merged into its base model.

    Args:
        name (`str`): Hub name, folder, or "nano"; in our layout or the original project's.
        device (`str` or `torch.device`): device as in `pick_device`.
        dtype (`str` or `torch.dtype`): dtype of the weights; "auto" keeps the stored one.
        quantization (`str`, *optional*): name of a weight quantization, as `quantization_config` takes it.

    Raises:
        OSError: if there is no such checkpoint.
        ValueError: if the device is not available, or does not support the quantization.
    """
    name = resolve_checkpoint(name)
    device = pick_device(str(device))
    dtype = dtype if dtype == "auto" or isinstance(dtype, torch.dtype) else getattr(torch, dtype)
    if (base := base_of_adapter(name)) is not None:
        if quantization is not None:
            raise ValueError(f"`quantization` {quantization!r} needs a merged model: run `t5gemma-tts merge` first.")
        model = T5GemmaTTSForConditionalGeneration.from_pretrained(base, dtype=dtype)
        return merge_into(model, name).to(device)
    if quantization is None:
        return T5GemmaTTSForConditionalGeneration.from_pretrained(name, dtype=dtype).to(device)
    return T5GemmaTTSForConditionalGeneration.from_pretrained(
        name, dtype=dtype, quantization=quantization, device_map={"": device}
    )


def load_processor(
    name: str, codec: str | None = None, codec_device: str | torch.device = "auto"
) -> T5GemmaTTSProcessor:
    """
    Loads the processor of a checkpoint; for an adapter, that of its base model.

    Args:
        name (`str`): Hub name, folder, or "nano"; in our layout or the original project's.
        codec (`str`, *optional*): Hub name or folder of another codec to use.
        codec_device (`str` or `torch.device`): device of the codec, as in `pick_device`.

    Raises:
        OSError: if there is no checkpoint `name` or no codec `codec`.
        ValueError: if the checkpoint is of another model, or the codec does not match the model's audio tokens.
    """
    name = resolve_checkpoint(name)
    name = base_of_adapter(name) or name
    T5GemmaTTSConfig.get_config_dict(name)  # its error is clearer than that of a missing tokenizer
    processor = T5GemmaTTSProcessor.from_pretrained(name)
    processor.codec_device = pick_device(str(codec_device))
    if codec is not None:
        loaded = load_codec(codec, processor.codec_device)
        processor.sampling_rate = loaded.sampling_rate  # codecs can differ in their sampling rate
        processor.codec = loaded
    return processor


def load_codec(name: str, device: str | torch.device = "auto") -> XCodec2:
    """
    Loads a codec.

    Args:
        name (`str`): Hub name or folder of a codec, or of a T5Gemma-TTS checkpoint that has one, or "nano".
        device (`str` or `torch.device`): device as in `pick_device`.

    Raises:
        OSError: if there is no such codec.
        ValueError: if the device is not available.
    """
    name = resolve_checkpoint(name)
    name = base_of_adapter(name) or name
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
    The checkpoint to load, and the devices of its parts.

    Args:
        model (`str`): Hub name or folder, in our layout or the original project's.
        codec (`str`, *optional*): codec to use instead of the checkpoint's own.
        device (`str`): device of the model, as in `pick_device`.
        dtype (`str`), quantization (`str`, *optional*): as in `load_model`.
        encoder_device, codec_device (`str`, *optional*): devices of text encoder and codec; the model's by default.
        low_vram (`bool`): use bfloat16, and put encoder and codec on the CPU unless their devices are given.
        trim_silence, normalize_loudness (`bool`, *optional*): what to do with references; the checkpoint's settings
            when None.
    """

    model: str
    codec: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    quantization: str | None = None
    encoder_device: str | None = None
    codec_device: str | None = None
    low_vram: bool = False
    trim_silence: bool | None = None
    normalize_loudness: bool | None = None

    @classmethod
    def from_attributes(cls, options: object) -> "ModelOptions":
        """Creates the options from an object with attributes of the same names, such as parsed arguments."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})

    def load(self) -> tuple[T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor]:
        """
        Loads the model and the processor.

        Raises:
            OSError, ValueError: as `load_model` and `load_processor`.
        """
        # the processor first, because it fails faster than the model
        processor = self.load_processor()
        return self.load_model(), processor

    def load_processor(self) -> T5GemmaTTSProcessor:
        """
        Loads the processor only, and checks all options.

        Raises:
            OSError, ValueError: as `load_processor`, and for options of the model.
        """
        pick_device(self.encoder_device or "cpu")
        if self.quantization is not None:
            quantization_config(self.quantization)
        processor = load_processor(self.model, self.codec, self.codec_device or self._default_device)
        if self.trim_silence is not None:
            processor.trim_silence = self.trim_silence
        if self.normalize_loudness is not None:
            processor.normalize_loudness = self.normalize_loudness
        return processor

    def load_model(self) -> T5GemmaTTSForConditionalGeneration:
        """
        Loads the model only.

        Raises:
            OSError, ValueError: as `load_model`.
        """
        dtype = "bfloat16" if self.low_vram else self.dtype
        model = load_model(self.model, device=pick_device(self.device), dtype=dtype, quantization=self.quantization)
        if self.encoder_device or self.low_vram:
            model.get_encoder().to(pick_device(self.encoder_device or self._default_device))
        return model

    @property
    def _default_device(self) -> str:
        """The device of codec and text encoder where none is given."""
        device = pick_device(self.device)
        return "cpu" if self.low_vram else str(device)


__all__ = ["ModelOptions", "load_codec", "load_model", "load_processor", "pick_device"]
