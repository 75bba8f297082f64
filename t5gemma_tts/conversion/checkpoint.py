"""Converts the original project's training bundles and exported models to a folder in this project's layout."""

import logging
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from ..model.configuration_t5gemma_tts import T5GemmaTTSConfig
from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..model.xcodec2 import MODEL_CLASSES, XCodec2
from ..model.xcodec2_original import config_from_original, is_original_config
from .lora import save_adapter
from .source import SourceCheckpoint, read_config, read_source


logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def convert_checkpoint(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    backbone_config: str | os.PathLike[str] | None = None,
    tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase | None = None,
    codec: str | os.PathLike[str] | None = None,
    merge_lora: bool = True,
    dtype: str | torch.dtype | None = None,
    overwrite: bool = False,
) -> Path:
    """
    Converts a checkpoint of the original project to this project's layout.

    The output has configuration, code, safetensors and generation defaults, and tokenizer, processor and codec if they
    are available. It is written to a temporary folder and renamed, so that an error leaves `output` unchanged. LoRA
    adapters that the original's scripts exported need no conversion: PEFT loads them into this project's model.

    Args:
        source (`str` or `os.PathLike`):
            A training bundle (a `.pth` file: full, pruned or with LoRA), or the folder or Hub name of an exported
            model (`model_type: t5gemma_voice`).
        output (`str` or `os.PathLike`): A folder that does not exist or is empty.
        backbone_config (`str` or `os.PathLike`, *optional*):
            Configuration of the text backbone, which bundles lack: `config.json`, folder or Hub name of a T5Gemma or
            of a model derived from it. By default, that of the backbone named in the bundle.
        tokenizer (`str`, `os.PathLike` or `PreTrainedTokenizerBase`, *optional*):
            Folder, Hub name or object. By default, the tokenizer in `source` or named there; if it cannot be loaded, a
            warning is logged and the output has no tokenizer and no processor.
        codec (`str` or `os.PathLike`, *optional*):
            Folder or Hub name of a codec in any layout that `XCodec2` reads. A folder is copied to `codec/` of the
            output in float32; a Hub name is stored as a reference. By default, the codec named in `source`; if it
            cannot be read or does not fit, a warning is logged and the name and sampling rate of `source` are kept.
        merge_lora (`bool`, *optional*, defaults to `True`):
            Merge the LoRA weights of a bundle into the base weights. With `False`, the output is the base model, and
            its folder `adapter/` has the LoRA weights, in their stored dtype, for `peft.PeftModel.from_pretrained`.
        dtype (`str` or `torch.dtype`, *optional*):
            Dtype of the model's weights: "float32", "bfloat16" or "float16". By default, the stored dtype.
        overwrite (`bool`, *optional*, defaults to `False`): Whether to replace `output` if it is a checkpoint.

    Returns:
        `Path`: `output`.

    Raises:
        FileExistsError: if `output` is not empty and must not be replaced.
        OSError: if `source`, `backbone_config`, `tokenizer` or `codec` cannot be found.
        ValueError: if one of them is invalid, or weights are missing, unexpected or of another shape.
    """
    output = Path(output)
    _check_output(output, overwrite, [source, backbone_config, tokenizer, codec])
    dtype = _read_dtype(dtype)
    checkpoint = read_source(source, backbone_config, merge_lora, dtype)
    codec_to_save = _resolve_codec(checkpoint.config, codec)
    tokenizer = _find_tokenizer(tokenizer, checkpoint)
    model = checkpoint.load_model(dtype)

    target = output.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    partial.mkdir()
    try:
        model.save_pretrained(partial)
        if tokenizer is not None:
            T5GemmaTTSProcessor.from_config(model.config, tokenizer).save_pretrained(partial)
        if codec_to_save is not None:
            codec_to_save.save_pretrained(partial / "codec")
        if checkpoint.lora is not None:
            save_adapter(checkpoint.lora, model, partial / "adapter", base_model_name_or_path=str(output))
        _replace_folder(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return output


def _check_output(output: Path, overwrite: bool, inputs: Sequence[object]) -> None:
    """Checks that `output` is empty, or may be replaced: a checkpoint that holds none of the inputs."""
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"`output` {str(output)!r} must be a folder, but is a file.")
    if not output.exists() or not any(output.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"`output` {str(output)!r} is not empty; pass `overwrite=True` to replace it.")
    if not (output / "config.json").is_file():
        raise FileExistsError(
            f"`output` {str(output)!r} is not replaced: it is not a checkpoint (it has no config.json)."
        )
    for path in inputs:
        if isinstance(path, (str, os.PathLike)) and os.path.exists(path):
            path = Path(path).resolve()
            if output.resolve() in (path, *path.parents):
                raise FileExistsError(f"`output` {str(output)!r} is not replaced: the input {str(path)!r} is in it.")


def _replace_folder(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
        return
    old = partial.with_name(f"{partial.name}.old")
    target.rename(old)
    try:
        partial.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _read_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None:
        return None
    for name, accepted in DTYPES.items():
        if dtype in (name, accepted):
            return accepted
    raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {str(dtype)!r}.")


def _resolve_codec(config: T5GemmaTTSConfig, codec: str | os.PathLike[str] | None) -> XCodec2 | None:
    """
    Updates the codec's fields of `config`. Returns the codec if it must be saved with the model.

    The codec named in the original configuration is also read, because the original's trainer always stores a sampling
    rate of 44 100 Hz.
    """
    name = config.codec_name_or_path if codec is None else os.fspath(codec)
    if name is None:
        logger.warning("The checkpoint names no codec. Pass `codec`, or its tokens cannot be decoded to audio.")
        return None
    try:
        codec_to_save, checked = _fit_codec(config, name)
    except (OSError, ValueError) as error:
        if codec is not None:
            raise
        reason = str(error).splitlines()[0]
        logger.warning(
            "Keeping the codec and sampling rate (%s Hz) of the checkpoint without checking them: %s",
            config.sampling_rate,
            reason,
        )
        return None
    for field in ("codec_config", "codec_name_or_path", "sampling_rate"):
        setattr(config, field, getattr(checked, field))
    return codec_to_save


def _fit_codec(config: T5GemmaTTSConfig, name: str) -> tuple[XCodec2 | None, T5GemmaTTSConfig]:
    """Returns the codec if `name` is a folder, else None; and a copy of `config` with that codec."""
    codec_to_save = None
    if os.path.isdir(name):
        codec_to_save = XCodec2.from_pretrained(name)
        codec_config = codec_to_save.model.config
    else:
        codec_config = _read_codec_config(name)
    fields = config.to_dict()
    fields["codec_config"] = codec_config.to_dict()
    fields["codec_name_or_path"] = None if codec_to_save is not None else name
    fields["sampling_rate"] = None  # set from the codec
    try:
        return codec_to_save, T5GemmaTTSConfig.from_dict(fields)
    except ValueError as error:
        raise ValueError(f"`codec` {name!r} does not fit this model: {error}") from error


def _read_codec_config(name_or_path: str) -> PreTrainedConfig:
    fields = read_config(name_or_path)
    if is_original_config(fields):
        return config_from_original(fields)
    if (model_type := fields.get("model_type")) not in MODEL_CLASSES:
        raise ValueError(f"`codec` must be an XCodec2, got `model_type` {model_type!r} in {name_or_path!r}.")
    return AutoConfig.for_model(**fields)


def _find_tokenizer(
    tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase | None, checkpoint: SourceCheckpoint
) -> PreTrainedTokenizerBase | None:
    if tokenizer is not None:
        if isinstance(tokenizer, (str, os.PathLike)):
            try:
                tokenizer = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
            except (OSError, ValueError) as error:
                kind = OSError if isinstance(error, OSError) else ValueError
                raise kind(f"`tokenizer` {str(tokenizer)!r} cannot be loaded: {error}") from error
        text_vocab_size = checkpoint.config.get_text_config(encoder=True).vocab_size
        if len(tokenizer) > text_vocab_size:
            raise ValueError(
                f"`tokenizer` must have at most {text_vocab_size} entries, the text vocabulary of this model, "
                f"got {len(tokenizer)}."
            )
        return tokenizer
    tried = []
    if checkpoint.state_dict is None:
        tried.append(checkpoint.path)
        try:
            # passing `config` avoids loading the remote code that the original's folder names
            return AutoTokenizer.from_pretrained(checkpoint.path, config=checkpoint.config, trust_remote_code=False)
        except (OSError, ValueError):
            pass
    for field in ("text_tokenizer_name", "t5gemma_model_name"):
        if name := checkpoint.original.get(field):
            tried.append(name)
            try:
                return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            except (OSError, ValueError):  # no tokenizer, or no connection
                pass
    logger.warning("No tokenizer found (tried %s), so the output has no processor. Pass `tokenizer`.", ", ".join(tried))
    return None
