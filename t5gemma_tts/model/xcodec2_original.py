"""Converts the original project's XCodec2 checkpoints (configuration, files, key names) to those of transformers.

The original describes a codec by a `BigCodecConfig`. Sizes that its published files omit are constants of its code and
defaults here. The 44.1 kHz variant adds `sample_rate`, `hop_length` and the upsampler's fields.
"""

import json
import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import Wav2Vec2BertConfig, Xcodec2Config
from transformers.utils.hub import cached_file

from .configuration_checks import explain_config_errors
from .configuration_t5gemma_tts import T5GemmaTTSCodecConfig


# only hidden state 16 of the semantic encoder is used; checkpoints also store the later layers
NUM_SEMANTIC_LAYERS = 16
ENCODER_SAMPLING_RATE = 16000
NUM_QUANTIZER_DIMENSIONS, LEVELS_PER_DIMENSION = 8, 4
# kernel size of upsampling stages if the configuration has none
DEFAULT_UPSAMPLE_KERNEL_SIZE = 8

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
PICKLE_SUFFIXES = (".ckpt", ".bin", ".pth", ".pt")

RESIDUAL_UNIT_PARTS = ("snake1", "conv1", "snake2", "conv2")
ENCODER_BLOCK_PARTS = {"3": "snake1", "4": "conv1"}

# pattern of a complete key (after folding weight norm) -> our key
RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"semantic_model\.(.+)", r"semantic_encoder.\1"),
    (r"SemanticEncoder_module\.initial_conv\.(.+)", r"semantic_adapter.conv1.\1"),
    (r"SemanticEncoder_module\.residual_blocks\.1\.(.+)", r"semantic_adapter.conv2.\1"),
    (r"SemanticEncoder_module\.residual_blocks\.3\.(.+)", r"semantic_adapter.conv3.\1"),
    (r"SemanticEncoder_module\.final_conv\.(.+)", r"semantic_adapter.conv4.\1"),
    (r"CodecEnc\.conv_blocks\.0\.(weight|bias)", r"acoustic_encoder.conv1.\1"),
    (
        r"CodecEnc\.conv_blocks\.([1-9]\d*)\.block\.([012])\.block\.([0-3])\.(.+)",
        lambda m: (
            f"acoustic_encoder.block.{int(m[1]) - 1}.res_unit{int(m[2]) + 1}.{RESIDUAL_UNIT_PARTS[int(m[3])]}.{m[4]}"
        ),
    ),
    (
        r"CodecEnc\.conv_blocks\.([1-9]\d*)\.block\.([34])\.(.+)",
        lambda m: f"acoustic_encoder.block.{int(m[1]) - 1}.{ENCODER_BLOCK_PARTS[m[2]]}.{m[3]}",
    ),
    (r"CodecEnc\.conv_final_block\.0\.(.+)", r"acoustic_encoder.snake1.\1"),
    (r"CodecEnc\.conv_final_block\.1\.(.+)", r"acoustic_encoder.conv2.\1"),
    (r"fc_prior\.(.+)", r"fc_encoder.\1"),
    (r"fc_post_a\.(.+)", r"acoustic_decoder.fc.\1"),
    (r"generator\.quantizer\.(project_in|project_out)\.(.+)", r"quantizer.\1.\2"),
    (r"generator\.backbone\.(embed|prior_net|post_net)\.(.+)", r"acoustic_decoder.\1.\2"),
    (r"generator\.backbone\.final_layer_norm\.(.+)", r"acoustic_decoder.norm.\1"),
    (r"generator\.backbone\.transformers\.(\d+)\.att_norm\.(.+)", r"acoustic_decoder.layers.\1.input_layernorm.\2"),
    (
        r"generator\.backbone\.transformers\.(\d+)\.ffn_norm\.(.+)",
        r"acoustic_decoder.layers.\1.post_attention_layernorm.\2",
    ),
    (r"generator\.backbone\.transformers\.(\d+)\.mlp\.(.+)", r"acoustic_decoder.layers.\1.mlp.\2"),
    (r"generator\.backbone\.transformers\.(\d+)\.att\.c_proj\.(.+)", r"acoustic_decoder.layers.\1.self_attn.o_proj.\2"),
    (r"generator\.upsampler\.upsample_layers\.(.+)", r"acoustic_decoder.head.upsampler.convs.\1"),
    (r"generator\.upsampler\.resnet_blocks\.(.+)", r"acoustic_decoder.head.upsampler.blocks.\1"),
    (r"generator\.upsampler\.out_proj\.(.+)", r"acoustic_decoder.head.upsampler.out_proj.\1"),
    (r"generator\.head\.out\.(.+)", r"acoustic_decoder.head.linear.\1"),
)
FUSED_ATTENTION = re.compile(r"generator\.backbone\.transformers\.(\d+)\.att\.c_attn\.weight")

SEMANTIC_LAYER = re.compile(r"semantic_model\.encoder\.layers\.(\d+)\..+")
UNUSED = tuple(
    re.compile(pattern)
    for pattern in (
        # constants, which are recomputed
        r".+\.(upsample|downsample|downsample\.lowpass)\.filter",
        r"generator\.head\.istft\.window",
        r"generator\.backbone\..*(rotary|rope|inv_freq).*",
        r"generator\.quantizer\.(layers\..*|scales)",
        # parts of the semantic model that do not affect hidden state 16
        r"semantic_model\.(masked_spec_embed|adapter\..+|intermediate_ffn\..+)",
        r"semantic_model\.(encoder\.)?(final_)?layer_norm\..+",
        # training only
        r"(SemanticDecoder_module|fc_post_s|discriminator|spec_discriminator|criteria|perception_model)\..+",
    )
)


def is_original_config(config: dict[str, Any]) -> bool:
    """Whether a `config.json` is a `BigCodecConfig` (not transformers' own "xcodec", the first X-Codec)."""
    names = {"semantic_hidden_size", "codec_encoder_hidden_size", "codec_decoder_hidden_size"}
    if names & config.keys():
        return True
    return config.get("model_type") in ("xcodec", "bigcodec") and "acoustic_model_config" not in config


def config_from_original(original: dict[str, Any]) -> Xcodec2Config:
    """
    Reads a `BigCodecConfig`.

    Args:
        original (`dict`): Content of its `config.json`. Missing fields default to the values of the published models.

    Returns:
        `Xcodec2Config`, or `T5GemmaTTSCodecConfig` if the codec has an upsampler, another output rate, or an acoustic
        encoder of another width than the decoder.

    Raises:
        ValueError: for unsupported codecs (no Vocos decoder, other dilations, another semantic model).
    """

    with explain_config_errors("the original configuration of the codec"):
        return _config_from_original(original)


def _config_from_original(original: dict[str, Any]) -> Xcodec2Config:
    def get(name: str, default: Any) -> Any:
        value = original.get(name)
        return default if value is None else value

    if not get("use_vocos", True):
        raise ValueError("`use_vocos` of the original configuration must be true: only that decoder is supported.")
    if list(get("dilations", (1, 3, 9))) != [1, 3, 9]:
        raise ValueError(f"`dilations` of the original configuration must be [1, 3, 9], got {original['dilations']}.")
    semantic_model_config = _semantic_config(get("semantic_model_config", {}), original.get("semantic_hidden_size"))
    hidden_size = int(get("codec_decoder_hidden_size", 1024))
    acoustic_hidden_size = int(get("codec_encoder_hidden_size", 1024))
    num_attention_heads = int(get("decoder_heads", 16))
    ratios = [int(ratio) for ratio in get("up_ratios", (2, 2, 4, 4, 5))]
    shared: dict[str, Any] = {
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_hidden_layers": int(get("decoder_depth", 12)),
        "num_attention_heads": num_attention_heads,
        "num_key_value_heads": num_attention_heads,
        "head_dim": hidden_size // num_attention_heads,
        "encoder_hidden_size": int(get("ngf", 48)),
        "downsampling_ratios": ratios,
        "semantic_model_config": semantic_model_config,
        "sampling_rate": ENCODER_SAMPLING_RATE,
        "quantization_dim": semantic_model_config.hidden_size + acoustic_hidden_size,
        "quantization_levels": [LEVELS_PER_DIMENSION] * NUM_QUANTIZER_DIMENSIONS,
    }
    if bad := [name for name in ("hidden_size", "encoder_hidden_size", "num_hidden_layers") if shared[name] < 1]:
        raise ValueError(f"`{bad[0]}` of the original configuration must be above 0, got {shared[bad[0]]}.")
    if not ratios or min(ratios) < 1:
        raise ValueError(f"`up_ratios` of the original configuration must be above 0, got {ratios}.")
    upsample_factors = [int(factor) for factor in get("upsample_factors", ())]
    kernel_sizes = get("upsample_kernel_sizes", ()) or [DEFAULT_UPSAMPLE_KERNEL_SIZE] * len(upsample_factors)
    output_sampling_rate = int(get("sample_rate", ENCODER_SAMPLING_RATE))
    decoder_hop_length = int(get("hop_length", math.prod(ratios)))
    if (
        not upsample_factors
        and output_sampling_rate == ENCODER_SAMPLING_RATE
        and decoder_hop_length == math.prod(ratios)
        and acoustic_hidden_size == hidden_size
    ):
        return Xcodec2Config(**shared)
    return T5GemmaTTSCodecConfig(
        **shared,
        output_sampling_rate=output_sampling_rate,
        decoder_hop_length=decoder_hop_length,
        acoustic_hidden_size=acoustic_hidden_size,
        upsample_factors=upsample_factors,
        upsample_kernel_sizes=[int(size) for size in kernel_sizes],
    )


def _semantic_config(original: dict[str, Any], hidden_size: int | None) -> Wav2Vec2BertConfig:
    original = dict(original)
    model_type = original.pop("model_type", "wav2vec2-bert")
    if model_type != "wav2vec2-bert":
        raise ValueError(f"`semantic_model_config` must be of type 'wav2vec2-bert', got {model_type!r}.")
    num_layers = original.get("num_hidden_layers", 24)
    if num_layers < NUM_SEMANTIC_LAYERS:
        raise ValueError(
            f"`semantic_model_config.num_hidden_layers` must be at least {NUM_SEMANTIC_LAYERS}, got {num_layers}."
        )
    # no masking embedding: only the training of the semantic model uses it, and some files lack it
    original.update(
        num_hidden_layers=NUM_SEMANTIC_LAYERS,
        mask_time_prob=0.0,
        mask_feature_prob=0.0,
        add_adapter=False,
        use_intermediate_ffn_before_adapter=False,
        output_hidden_states=False,
    )
    config = Wav2Vec2BertConfig(**original)
    if hidden_size is not None and hidden_size != config.hidden_size:
        raise ValueError(
            f"`semantic_hidden_size` must be `semantic_model_config.hidden_size`, {config.hidden_size}, "
            f"got {hidden_size}."
        )
    return config


def load_original_state_dict(
    name_or_path: str | os.PathLike[str], subfolder: str = "", **hub_kwargs: Any
) -> dict[str, torch.Tensor]:
    """
    Reads the weights of an original checkpoint, with their stored names.

    Args:
        name_or_path (`str` or `os.PathLike`): A folder or Hub name with `model.safetensors` or `pytorch_model.bin`,
            single or sharded; a folder may instead have one `.ckpt`, `.bin`, `.pth` or `.pt` file of any name.
        subfolder (`str`, *optional*, defaults to `""`): Folder inside the repository.
        hub_kwargs: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`.

    Raises:
        ValueError: if there are no weights, several candidates, or a file with other objects than tensors. Pickled
            files are read with `weights_only=True`, so that no code in them is executed.
    """

    def find(filename: str, required: bool = False) -> Any:  # path, or None if the file is missing and not required
        return cached_file(
            name_or_path,
            filename,
            subfolder=subfolder,
            _raise_exceptions_for_missing_entries=required,
            **hub_kwargs,
        )

    for filename in WEIGHT_FILES:
        path = find(filename)
        if path is None:
            continue
        if not filename.endswith(".index.json"):
            return _read_weights(path)
        state_dict = {}
        for shard in _shard_names(path):
            state_dict.update(_read_weights(find(shard, required=True)))
        return state_dict

    folder = Path(name_or_path, subfolder)
    candidates = sorted(path for path in folder.glob("*") if path.suffix in PICKLE_SUFFIXES)
    if len(candidates) != 1:
        found = [path.name for path in candidates] or "none"
        raise ValueError(
            f"{str(name_or_path)!r} must have its weights in model.safetensors or pytorch_model.bin, whole or sharded, "
            f"or, in a folder, in one file with a suffix among {', '.join(PICKLE_SUFFIXES)}; found {found}."
        )
    return _read_weights(candidates[0])


def _shard_names(index: str | os.PathLike[str]) -> list[str]:
    """Returns the files that an index names; they must be in its folder."""
    with explain_config_errors(repr(str(index))):
        try:
            shards = sorted(set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()))
        except ValueError as error:
            raise ValueError(f"{str(index)!r} must be JSON: {error}.") from error
    if bad := [name for name in shards if not isinstance(name, str) or Path(name).name != name or "\\" in name]:
        raise ValueError(f"{str(index)!r} must name files in its folder, got {bad[0]!r:.200}.")
    return shards


def _read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged or malicious pickle can fail anywhere
        raise ValueError(
            f"{str(path)!r} is damaged, or is a pickle of other objects than tensors, which is not loaded for safety. "
            "If you trust the file, save its weights as model.safetensors elsewhere."
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise ValueError(f"{str(path)!r} must hold a dictionary of tensors.")
    return content


def convert_original_state_dict(original: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Converts the keys of an original state dict, folds weight norm and splits the fused attention projection.

    Weight norm is w = g v / |v|, with the norm over all dimensions but the first.

    Returns:
        `dict[str, torch.Tensor]` of float32 tensors.

    Raises:
        ValueError: if a key is unknown, or half of a weight-norm pair is missing.
    """
    used = {key: value.float() for key, value in original.items() if not _is_unused(key)}
    converted, unexpected = {}, []
    for key, value in _fold_weight_norm(used).items():
        if match := FUSED_ATTENTION.fullmatch(key):
            if value.dim() != 2 or value.shape[0] % 3:
                raise ValueError(f"the weight {key!r} must have shape (3 * size, size), got {tuple(value.shape)}.")
            for name, part in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
                converted[f"acoustic_decoder.layers.{match[1]}.self_attn.{name}.weight"] = part.contiguous()
        elif (renamed := _rename(key)) is not None:
            converted[renamed] = value
        else:
            unexpected.append(key)
    if unexpected:
        raise ValueError(f"{len(unexpected)} unexpected weights in the original checkpoint: {shorten(unexpected)}.")
    return converted


def _is_unused(key: str) -> bool:
    layer = SEMANTIC_LAYER.fullmatch(key)
    if layer and int(layer[1]) >= NUM_SEMANTIC_LAYERS:
        return True
    return any(pattern.fullmatch(key) for pattern in UNUSED)


def _rename(key: str) -> str | None:
    for pattern, replacement in RENAMES:
        if match := re.fullmatch(pattern, key):
            renamed = replacement(match) if callable(replacement) else match.expand(replacement)
            # SnakeBeta's second vector is called `bias` inside the original package
            return re.sub(r"\.act\.bias$", ".act.beta", renamed)
    return None


def _fold_weight_norm(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Replaces each pair of magnitude and direction, in both naming schemes of PyTorch, by its weight."""
    suffixes = {
        ".parametrizations.weight.original0": ".parametrizations.weight.original1",
        ".weight_g": ".weight_v",
    }
    folded = dict(state_dict)
    for magnitude_suffix, direction_suffix in suffixes.items():
        for key in state_dict:
            if not key.endswith((magnitude_suffix, direction_suffix)):
                continue
            module = key.removesuffix(magnitude_suffix).removesuffix(direction_suffix)
            try:
                magnitude = state_dict[module + magnitude_suffix]
                direction = state_dict[module + direction_suffix]
            except KeyError as error:
                raise ValueError(f"missing weight in the original checkpoint: {error}.") from None
            if direction.dim() < 2 or magnitude.shape != direction.shape[:1] + (1,) * (direction.dim() - 1):
                raise ValueError(
                    f"magnitude and direction of the weight of {module!r} do not match: {tuple(magnitude.shape)} and "
                    f"{tuple(direction.shape)}."
                )
            norm = torch.linalg.vector_norm(direction, dim=tuple(range(1, direction.dim())), keepdim=True)
            folded[f"{module}.weight"] = direction * (magnitude / norm)
            del folded[key]
    return folded


def shorten(names: Iterable[object], limit: int = 5) -> str:
    """Joins the first `limit` names for an error message."""
    shown = sorted(str(name) for name in names)
    return ", ".join(shown[:limit]) + (", …" if len(shown) > limit else "")


__all__ = ["config_from_original", "convert_original_state_dict", "is_original_config", "load_original_state_dict"]
