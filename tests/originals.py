"""Checkpoints in the original project's layouts, made from small models."""

import json
from argparse import Namespace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny import tiny_backbone, tiny_config, tiny_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from t5gemma_tts import T5GemmaTTSForConditionalGeneration


OUR_PREFIXES = {
    "model.decoder.embed_tokens.": "audio_embedding.0.",
    "model.encoder.": "backbone.model.encoder.",
    "model.decoder.": "backbone.model.decoder.",
    "audio_head.dense.": "predict_layer.0.0.",
    "audio_head.out_proj.": "predict_layer.0.2.",
}
HALVES = {"encoder.": "encoder_module.", "decoder.": "decoder_module."}


def original_key(our_key: str) -> str:
    ours, theirs = next(pair for pair in OUR_PREFIXES.items() if our_key.startswith(pair[0]))
    return theirs + our_key.removeprefix(ours)


def original_args(codebook_size: int = 64, **kwargs) -> dict:
    """Returns the trainer arguments of the original for a model of `tiny_config`."""
    return {
        "audio_vocab_size": codebook_size,
        "eos": codebook_size + 3,
        "encodec_sr": 50.0,
        "progress_scale": 50.0,
        "x_sep_token": 127,
        "use_pm_rope": 1,
        "no_loss_on_prefix": 1,
        "codec_audio_sr": 44100,
        "xcodec2_model_name": "nobody/no-codec",
        "t5gemma_model_name": "nobody/no-backbone",
        "text_tokenizer_name": "nobody/no-tokenizer",
        **kwargs,
    }


def small_model(codebook_size: int = 64, seed: int = 0) -> T5GemmaTTSForConditionalGeneration:
    return tiny_model(tiny_config(codebook_size=codebook_size), seed=seed)


def with_aliases(weights: dict, backbone: str = "backbone.model.") -> dict:
    """Adds the second names that encoder and decoder have in the original's state dict."""
    aliases = {}
    for half, alias in HALVES.items():
        prefix = backbone + half
        aliases |= {alias + key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)}
    return {**weights, **aliases}


def original_weights(model: T5GemmaTTSForConditionalGeneration, prune_text_modules: int = 2) -> dict:
    """Returns the weights with the original's names, without aliases."""
    weights = {original_key(key): value for key, value in model.state_dict().items()}
    embedding = torch.zeros(128, model.config.backbone.decoder.hidden_size)
    if prune_text_modules < 2:
        weights["backbone.model.decoder.embed_tokens.weight"] = embedding
    if prune_text_modules < 1:
        weights["backbone.lm_head.out_proj.weight"] = embedding.clone()
    return weights


def lora_weights(weights: dict, modules: list[str], rank: int, seed: int = 0) -> dict:
    """Adds LoRA weights for `modules` (names in `weights`), with PEFT's names in the original's backbone."""
    generator = torch.Generator().manual_seed(seed)
    wrapped = {}
    for key, value in weights.items():
        module = key.removesuffix(".weight")
        name = key.replace("backbone.", "backbone.base_model.model.", 1) if key.startswith("backbone.") else key
        if module not in modules:
            wrapped[name] = value
            continue
        name = name.removesuffix(".weight")
        wrapped[f"{name}.base_layer.weight"] = value
        wrapped[f"{name}.lora_A.default.weight"] = torch.randn(rank, value.shape[1], generator=generator) * 0.1
        wrapped[f"{name}.lora_B.default.weight"] = torch.randn(value.shape[0], rank, generator=generator) * 0.1
    return wrapped


def write_bundle(path: Path, weights: dict, **args) -> Path:
    torch.save({"model": weights, "optimizer": {}, "scheduler": {}, "args": Namespace(**original_args(**args))}, path)
    return path


def write_backbone_config(folder: Path) -> Path:
    """Writes the configuration of a T5Gemma with soft-capping, as in published ones."""
    tiny_backbone(attn_logit_softcapping=50.0).save_pretrained(folder)
    return folder


def write_export(folder: Path, weights: dict, num_shards: int = 1, **fields) -> Path:
    """Writes a folder in the format of the original's export scripts."""
    folder.mkdir(parents=True)
    backbone = tiny_backbone(attn_logit_softcapping=50.0).to_dict()
    config = {"model_type": "t5gemma_voice", "t5_config_dict": backbone, **original_args(), **fields}
    (folder / "config.json").write_text(json.dumps(config))
    weights = {key: value.contiguous() for key, value in weights.items()}
    if num_shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = sorted(weights)
    weight_map = {}
    for number in range(num_shards):
        file = f"model-{number + 1:05}-of-{num_shards:05}.safetensors"
        shard = {name: weights[name] for name in names[number::num_shards]}
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """Writes a tokenizer with one token per letter and 30 entries, which fit the text vocabulary of `tiny_config`."""
    symbols = ["<pad>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", " ", "."]
    tokenizer = Tokenizer(WordLevel({symbol: number for number, symbol in enumerate(symbols)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split("", behavior="isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


def load(folder) -> T5GemmaTTSForConditionalGeneration:
    return T5GemmaTTSForConditionalGeneration.from_pretrained(folder)


def assert_same_weights(one, other):
    expected = other.state_dict()
    assert one.state_dict().keys() == expected.keys()
    for name, value in one.state_dict().items():
        assert torch.equal(value, expected[name]), name
