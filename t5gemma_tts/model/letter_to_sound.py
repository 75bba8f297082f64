"""A small network that guesses the phonemes of words that no dictionary has: letters in, phonemes out.

Each letter becomes two positions, two bidirectional GRU layers read them, and each position writes one phoneme or a
blank, as in CTC (https://www.cs.toronto.edu/~graves/icml_2006.pdf). Less exact than a model that writes phoneme after
phoneme, but one pass, under 1 MB, and it cannot loop.
"""

import json
import os
from collections.abc import Sequence

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn


MAX_LETTERS = 64


class LetterToSound(nn.Module):
    """
    Args:
        letters (`str`): the characters that words are spelled with.
        phonemes (`Sequence[str]`): the phonemes that it can write; a stressed vowel is a phoneme of its own.
        hidden_size (`int`, *optional*, defaults to 120): width of embeddings and of each direction of the GRU.
    """

    def __init__(self, letters: str, phonemes: Sequence[str], hidden_size: int = 120):
        super().__init__()
        self.letters = letters
        self.phonemes = list(phonemes)
        self.ids = {letter: number for number, letter in enumerate(letters, start=1)}  # 0 is padding
        self.embedding = nn.Embedding(len(letters) + 1, hidden_size, padding_idx=0)
        self.halves = nn.Parameter(torch.zeros(2, hidden_size))
        self.gru = nn.GRU(hidden_size, hidden_size, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden_size, len(self.phonemes) + 1)  # output 0 is the blank

    def encode(self, words: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Letter ids of shape `(batch_size, num_letters)`, padded right, and lengths `(batch_size,)`, both int64."""
        rows = [[self.ids[letter] for letter in word if letter in self.ids] for word in words]
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), max(1, int(lengths.max())), dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row, dtype=torch.long)
        return ids, lengths

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Log probabilities of shape `(batch_size, 2 * num_letters, num_phonemes + 1)`; index 0 is the blank."""
        batch_size, num_letters = ids.shape
        hidden = (self.embedding(ids)[:, :, None] + self.halves).reshape(batch_size, 2 * num_letters, -1)
        packed = nn.utils.rnn.pack_padded_sequence(hidden, 2 * lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return self.head(hidden).log_softmax(-1)

    @torch.inference_mode()
    def pronounce(self, words: Sequence[str]) -> list[list[str]]:
        """
        The most probable phonemes of each word. Characters that are not letters of the model are skipped.

        Raises:
            ValueError: for a word of more than 64 characters.
        """
        for word in words:
            if len(word) > MAX_LETTERS:
                raise ValueError(f"a word must have at most {MAX_LETTERS} letters, got {len(word)}: {word[:20]!r}...")
        known = [number for number, word in enumerate(words) if any(letter in self.ids for letter in word)]
        results: list[list[str]] = [[] for _ in words]
        if known:
            ids, lengths = self.encode([words[number] for number in known])
            best = self(ids, lengths).argmax(-1)
            for number, row, length in zip(known, best.tolist(), lengths.tolist(), strict=True):
                row = row[: 2 * length]
                changes = [new for old, new in zip([0, *row], row, strict=False) if new != old and new]
                results[number] = [self.phonemes[index - 1] for index in changes]
        return results

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights in float16, with letters and phonemes as metadata, into a safetensors file."""
        metadata = {"letters": self.letters, "phonemes": json.dumps(self.phonemes, ensure_ascii=False)}
        save_file({name: value.half().contiguous() for name, value in self.state_dict().items()}, path, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "LetterToSound":
        """
        Reads what `save` wrote.

        Raises:
            ValueError: if the file's metadata has no letters or phonemes.
        """
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if not {"letters", "phonemes"} <= set(metadata):
                raise ValueError(f"{str(path)!r} is not a letter-to-sound model: no `letters` and `phonemes` in it.")
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        hidden_size = weights["embedding.weight"].shape[1]
        model = cls(metadata["letters"], json.loads(metadata["phonemes"]), hidden_size)
        model.load_state_dict(weights)
        return model.eval()
