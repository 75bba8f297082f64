"""A tiny random checkpoint in the layout of a Hub repository."""

from pathlib import Path

import torch
from tiny import tiny_backbone
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast, Wav2Vec2BertConfig, Xcodec2Config, Xcodec2Model

from t5gemma_tts import T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor, XCodec2


SPECIAL_TOKENS = ["<pad>", "<eos>", "<bos>", "<sep>"]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Builds a byte-level tokenizer, which supports all languages."""
    symbols = SPECIAL_TOKENS + sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={symbol: number for number, symbol in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        additional_special_tokens=["<sep>"],
    )


def tiny_codec(seed: int = 0) -> XCodec2:
    """An XCodec2 at 16 kHz with 256 codes; its random weights are large enough for audible output."""
    torch.manual_seed(seed)
    config = Xcodec2Config(
        hidden_size=64,  # with 32, GroupNorm with 32 groups could not decode a clip of one code
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        encoder_hidden_size=2,
        quantization_dim=96,
        quantization_levels=[4, 4, 4, 4],
        semantic_model_config=Wav2Vec2BertConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        ).to_dict(),
    )
    model = Xcodec2Model(config)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv1d):
            module.reset_parameters()
    with torch.no_grad():
        model.quantizer.project_in.weight.mul_(10)  # otherwise all codes are equal
    # with phases near 0, each frame is a click where the window is 0, and the output is silent
    head = model.acoustic_decoder.head.linear
    with torch.no_grad():
        magnitude, phase = head.bias.chunk(2)
        magnitude.fill_(-1.0)
        phase.uniform_(-3.14, 3.14)
    return XCodec2(model)


def make_tiny_checkpoint(folder: Path, seed: int = 0) -> None:
    """Writes the checkpoint to `folder`."""
    codec = tiny_codec(seed)
    tokenizer = tiny_tokenizer()
    config = T5GemmaTTSConfig(
        backbone=tiny_backbone(text_vocab_size=len(tokenizer)),
        codebook_size=codec.codebook_size,
        codec_config=codec.model.config.to_dict(),
        text_separator_token_id=tokenizer.convert_tokens_to_ids("<sep>"),
        text_eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(seed)
    model = T5GemmaTTSForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.2)
    model.save_pretrained(folder)
    processor = T5GemmaTTSProcessor.from_config(config, tokenizer)
    processor.codec = codec
    processor.save_pretrained(folder)
