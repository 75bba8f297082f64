"""Initializes a small model with a trained codec and a tokenizer, with new weights or those of an earlier round.

    python training/nano/init_model.py FOLDER --codec CODEC --tokenizer TOKENIZER

`training/train.py --model` trains the model in the folder.
"""

import argparse
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone works without installation

import torch  # noqa: E402
from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5GemmaConfig, T5GemmaModuleConfig  # noqa: E402

from t5gemma_tts import (  # noqa: E402
    T5GemmaTTSConfig,
    T5GemmaTTSForConditionalGeneration,
    T5GemmaTTSProcessor,
    XCodec2,
)
from t5gemma_tts.cli.command import command  # noqa: E402
from t5gemma_tts.model.text_front_end import TextFrontEnd  # noqa: E402
from training.nano.build_text_front_end import SEPARATOR  # noqa: E402


# lower than the 0.8 of the published models, because unlikely codes of a small model are more often wrong
TEMPERATURE = 0.5


def small_config(
    codec: XCodec2,
    tokenizer: PreTrainedTokenizerFast,
    hidden_size: int,
    encoder_layers: int,
    decoder_layers: int,
    progress_scale: float,
) -> T5GemmaTTSConfig:
    """Returns a small configuration of the published architecture: head size 64, feed-forward size 3 * hidden size."""
    if hidden_size % 64:
        raise ValueError(f"`hidden_size` must be a multiple of 64, the size of a head; got {hidden_size}.")
    module = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden_size,
        "intermediate_size": 3 * hidden_size,
        "num_attention_heads": hidden_size // 64,
        "num_key_value_heads": hidden_size // 64,
        "head_dim": 64,
        "query_pre_attn_scalar": 64,
        "attn_logit_softcapping": None,
    }
    return T5GemmaTTSConfig(
        backbone=T5GemmaConfig(
            encoder=T5GemmaModuleConfig(**module, num_hidden_layers=encoder_layers),
            decoder=T5GemmaModuleConfig(**module, num_hidden_layers=decoder_layers),
        ),
        codebook_size=codec.codebook_size,
        codec_config=codec.model.config.to_dict(),
        text_separator_token_id=tokenizer.convert_tokens_to_ids(SEPARATOR),
        text_eos_token_id=tokenizer.eos_token_id,
        progress_scale=progress_scale,
    )


@torch.no_grad()
def init_from_codebook(model: T5GemmaTTSForConditionalGeneration, codec: XCodec2) -> None:
    """
    Initializes similar codes with similar embeddings and output weights.

    The weights of a code are a random projection of its quantizer levels, plus noise. The standard deviation of the
    model's initialization is kept.
    """
    levels = codec.model.quantizer.quantizer.codebook
    coordinates = (levels - levels.mean(0)) / levels.std(0)  # (codebook_size, num_dimensions)
    for weight in (model.get_decoder().embed_tokens.weight, model.audio_head.out_proj.weight):
        projection = torch.randn(coordinates.shape[1], weight.shape[1]) / coordinates.shape[1] ** 0.5
        rows = weight[: codec.codebook_size]
        rows.copy_(rows.std() * (coordinates @ projection + 0.3 * rows / rows.std()))


def init_model(
    folder: Path,
    codec: XCodec2,
    tokenizer: PreTrainedTokenizerFast,
    seed: int = 0,
    weights: str | None = None,
    front_end: TextFrontEnd | None = None,
    **sizes,
) -> int:
    """
    Writes a new checkpoint with its codec.

    Args:
        folder (`Path`): New folder.
        codec (`XCodec2`): Trained codec.
        tokenizer (`PreTrainedTokenizerFast`): Tokenizer from `training/nano/build_text_front_end.py`.
        seed (`int`): Seed of the initialization.
        weights (`str`, *optional*): Speech model with the same sizes, whose weights are copied.
        front_end (`TextFrontEnd`, *optional*): Lexicon that turns text into phonemes.
        sizes: Sizes for `small_config`.

    Returns:
        `int`: number of parameters without the codec.

    Raises:
        FileExistsError: if `folder` exists.
        ValueError: if the model `weights` has other sizes.
    """
    if folder.exists():
        raise FileExistsError(f"{str(folder)!r} exists; name a new folder.")
    config = small_config(codec, tokenizer, **sizes)
    torch.manual_seed(seed)
    model = T5GemmaTTSForConditionalGeneration(config)
    init_from_codebook(model, codec)
    if weights is not None:
        earlier = T5GemmaTTSForConditionalGeneration.from_pretrained(weights)
        shapes = [{name: tensor.shape for name, tensor in module.state_dict().items()} for module in (model, earlier)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"the model `weights` {weights!r} has other sizes.")
        model.load_state_dict(earlier.state_dict())
    model.generation_config.temperature = TEMPERATURE
    model.save_pretrained(folder)
    processor = T5GemmaTTSProcessor.from_config(config, tokenizer, front_end)
    processor.codec = codec
    processor.save_pretrained(folder)
    return model.num_parameters()


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--codec", required=True, help="codec folder")
    parser.add_argument("--tokenizer", required=True, help="output folder of training/nano/build_text_front_end.py")
    parser.add_argument("--weights", help="speech model whose weights are copied (default: new weights)")
    parser.add_argument("--hidden-size", type=int, default=256, help="width (default: %(default)s)")
    parser.add_argument("--encoder-layers", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--decoder-layers", type=int, default=6, help="default: %(default)s")
    parser.add_argument("--progress-scale", type=float, default=200.0, help="last position (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    size = init_model(
        arguments.folder,
        XCodec2.from_pretrained(arguments.codec),
        AutoTokenizer.from_pretrained(arguments.tokenizer),
        arguments.seed,
        arguments.weights,
        TextFrontEnd.from_pretrained(arguments.tokenizer),
        hidden_size=arguments.hidden_size,
        encoder_layers=arguments.encoder_layers,
        decoder_layers=arguments.decoder_layers,
        progress_scale=arguments.progress_scale,
    )
    print(f"{arguments.folder}: {size / 1e6:.1f} million parameters")


if __name__ == "__main__":
    sys.exit(main())
