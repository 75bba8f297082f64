"""Starts a small model: a tokenizer of the corpus' words and fresh weights, around a trained codec.

    python training/nano/start.py FOLDER --codec CODEC --corpus CORPUS

The folder is what `training/train.py --model` goes on from. Whole words are tokens where the vocabulary has room for
them, because words need no spelling rules learnt from little data; bytes say the rest, so any text can be written.
"""

import argparse
import csv
import math
import sys
from collections import Counter
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone works without installation

import torch  # noqa: E402
from tokenizers import Tokenizer, normalizers  # noqa: E402
from tokenizers.decoders import ByteLevel as ByteLevelDecoder  # noqa: E402
from tokenizers.models import Unigram  # noqa: E402
from tokenizers.pre_tokenizers import ByteLevel  # noqa: E402
from transformers import PreTrainedTokenizerFast, T5GemmaConfig, T5GemmaModuleConfig  # noqa: E402

from t5gemma_tts import (  # noqa: E402
    T5GemmaTTSConfig,
    T5GemmaTTSForConditionalGeneration,
    T5GemmaTTSProcessor,
    XCodec2,
)


PAD, EOS, BOS, SEPARATOR, UNKNOWN = "<pad>", "<eos>", "<bos>", "<sep>", "<unk>"
SPECIAL_TOKENS = [PAD, EOS, BOS, SEPARATOR, UNKNOWN]


def train_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """
    A unigram tokenizer of the most frequent lower-case words, with their leading space, and of all bytes.

    Args:
        texts (`list[str]`): the corpus.
        vocab_size (`int`): at most; special tokens and the 256 bytes included.

    Raises:
        ValueError: if `vocab_size` leaves no room for words.
    """
    alphabet = sorted(ByteLevel.alphabet())
    room = vocab_size - len(SPECIAL_TOKENS) - len(alphabet)
    if room <= 0:
        raise ValueError(
            f"`vocab_size` must be above {vocab_size - room}, the special tokens and bytes; got {vocab_size}."
        )
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    splitter = ByteLevel(add_prefix_space=True)
    counts = Counter(piece for text in texts for piece, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))[:room]
    total = sum(counts.values())
    pieces = [(token, 0.0) for token in SPECIAL_TOKENS]
    pieces += [(word, math.log(counts[word] / total)) for word in words]
    # spelling a word costs more than any word
    pieces += [(symbol, -20.0) for symbol in alphabet]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=SPECIAL_TOKENS.index(UNKNOWN)))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, splitter, ByteLevelDecoder()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=BOS,
        unk_token=UNKNOWN,
        additional_special_tokens=[SEPARATOR],
    )


def small_config(
    codec: XCodec2,
    tokenizer: PreTrainedTokenizerFast,
    hidden_size: int,
    encoder_layers: int,
    decoder_layers: int,
    progress_scale: float,
) -> T5GemmaTTSConfig:
    """The published architecture with small numbers: heads of 64, feed-forward layers three times as wide."""
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


def read_texts(corpus: Path) -> list[str]:
    """Training texts of a corpus folder, each once."""
    with open(corpus / "metadata.csv", encoding="utf-8", newline="") as file:
        return sorted({row["text"] for row in csv.DictReader(file) if row["split"] == "train"})


def start(folder: Path, codec: XCodec2, texts: list[str], vocab_size: int = 2000, seed: int = 0, **sizes) -> int:
    """
    Writes the checkpoint with its codec.

    Args:
        sizes: as `small_config` takes them.

    Returns:
        `int`: number of weights, without the codec's.

    Raises:
        FileExistsError: if `folder` exists.
    """
    if folder.exists():
        raise FileExistsError(f"{str(folder)!r} exists; name a new folder.")
    tokenizer = train_tokenizer(texts, vocab_size)
    config = small_config(codec, tokenizer, **sizes)
    torch.manual_seed(seed)
    model = T5GemmaTTSForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor = T5GemmaTTSProcessor.from_config(config, tokenizer)
    processor.codec = codec
    processor.save_pretrained(folder)
    return model.num_parameters()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--codec", required=True, help="codec folder")
    parser.add_argument("--corpus", type=Path, required=True, help="folder that training/nano/corpus.py made")
    parser.add_argument("--vocab-size", type=int, default=2000, help="text tokens (default: %(default)s)")
    parser.add_argument("--hidden-size", type=int, default=256, help="width (default: %(default)s)")
    parser.add_argument("--encoder-layers", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--decoder-layers", type=int, default=6, help="default: %(default)s")
    parser.add_argument("--progress-scale", type=float, default=2000.0, help="last position (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    try:
        size = start(
            arguments.folder,
            XCodec2.from_pretrained(arguments.codec),
            read_texts(arguments.corpus),
            arguments.vocab_size,
            arguments.seed,
            hidden_size=arguments.hidden_size,
            encoder_layers=arguments.encoder_layers,
            decoder_layers=arguments.decoder_layers,
            progress_scale=arguments.progress_scale,
        )
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.folder}: {size / 1e6:.1f} million weights")
    return 0


if __name__ == "__main__":
    sys.exit(main())
