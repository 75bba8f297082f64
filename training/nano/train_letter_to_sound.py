"""Trains nano's letter-to-sound model, and measures it on words that it never saw.

    python training/nano/train_letter_to_sound.py pronunciations.tsv letter_to_sound_en.safetensors \
        --held-out held_out.tsv

The input has one word and its phonemes a line, as `build_lexicon.py --all` writes it. Half an hour on one CPU core.
"""

import argparse
import random
import re
import sys
import time
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone works without installation

import torch  # noqa: E402
from rapidfuzz.distance import Levenshtein  # noqa: E402

from t5gemma_tts.cli.command import command  # noqa: E402
from t5gemma_tts.model.letter_to_sound import LetterToSound  # noqa: E402


LETTERS = "abcdefghijklmnopqrstuvwxyz'"
PHONEME = re.compile("[ˈˌ]?[^ˈˌ]")


def read_pairs(path: Path) -> list[tuple[str, list[str]]]:
    """Words of lower-case letters with their phonemes; words that CTC cannot align are left out."""
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        word, phonemes = line.split("\t")[:2]
        symbols = PHONEME.findall(phonemes)
        repeats = sum(first == second for first, second in zip(symbols, symbols[1:], strict=False))
        if word and all(letter in LETTERS for letter in word) and 0 < len(symbols) + repeats <= 2 * len(word):
            pairs.append((word, symbols))
    return pairs


def phoneme_error_rate(model: LetterToSound, pairs: list[tuple[str, list[str]]]) -> tuple[float, float]:
    """Phoneme error rate and the share of words with an error."""
    guesses = model.pronounce([word for word, _ in pairs])
    distances = [Levenshtein.distance(guess, right) for guess, (_, right) in zip(guesses, pairs, strict=True)]
    return sum(distances) / sum(len(right) for _, right in pairs), sum(map(bool, distances)) / len(pairs)


def train(
    pairs: list[tuple[str, list[str]]],
    held_out: list[tuple[str, list[str]]],
    output: Path,
    epochs: int,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> LetterToSound:
    """Trains with AdamW and a linear decay to 0, writing `output` after every epoch."""
    torch.manual_seed(seed)
    shuffler = random.Random(seed)
    phonemes = sorted({symbol for _, symbols in pairs for symbol in symbols})
    numbers = {symbol: number for number, symbol in enumerate(phonemes, start=1)}
    model = LetterToSound(LETTERS, phonemes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    batches_per_epoch = -(-len(pairs) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=epochs * batches_per_epoch, pct_start=0.1, anneal_strategy="linear"
    )
    start = time.monotonic()
    for epoch in range(1, epochs + 1):
        shuffler.shuffle(pairs)
        # words of similar length share a batch, so that little is padding
        blocks = [
            sorted(pairs[i : i + 50 * batch_size], key=lambda pair: len(pair[0]))
            for i in range(0, len(pairs), 50 * batch_size)
        ]
        batches = [block[i : i + batch_size] for block in blocks for i in range(0, len(block), batch_size)]
        shuffler.shuffle(batches)
        model.train()
        total = 0.0
        for batch in batches:
            ids, lengths = model.encode([word for word, _ in batch])
            targets = torch.tensor([numbers[symbol] for _, symbols in batch for symbol in symbols])
            target_lengths = torch.tensor([len(symbols) for _, symbols in batch])
            log_probabilities = model(ids, lengths).transpose(0, 1)
            loss = torch.nn.functional.ctc_loss(log_probabilities, targets, 2 * lengths, target_lengths)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if schedule.last_epoch < schedule.total_steps - 1:
                schedule.step()
            total += loss.item()
        model.eval().save(output)
        rate, words = phoneme_error_rate(model, held_out)
        print(
            f"epoch {epoch}: loss {total / len(batches):.3f}, held out: phoneme error rate {rate:.4f}, "
            f"words with an error {words:.3f}, {time.monotonic() - start:.0f} s",
            flush=True,
        )
    return model


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pronunciations", type=Path, help="TSV file of words and phonemes")
    parser.add_argument("output", type=Path, help="safetensors file to write")
    parser.add_argument("--held-out", type=Path, required=True, help="TSV file of the words to measure on")
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args(argv)
    held_out = read_pairs(arguments.held_out)
    unseen = {word for word, _ in held_out}
    pairs = [pair for pair in read_pairs(arguments.pronunciations) if pair[0] not in unseen]
    print(f"{len(pairs)} words to train on, {len(held_out)} held out")
    train(pairs, held_out, arguments.output, arguments.epochs)


if __name__ == "__main__":
    sys.exit(main())
