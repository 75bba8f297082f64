"""CTC loss of text tokens given quantized latents, which makes codes encode phonetic content.

Spectral losses weigh loudness as much as phonetic differences ("ball" or "bell"). A small CTC head (Graves et al.,
2006) predicts the text from the codes; its gradient makes the encoder preserve phonetic content, and speech models
learn text alignment faster on such codes, as SpeechTokenizer and Moshi's Mimi show. The head is used in training only.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoTokenizer

from ..model.text_front_end import TextFrontEnd


KERNEL_SIZE = 5  # frames; two layers have a context of 4 frames, 80 ms, on each side


class TextLoss(nn.Module):
    """
    CTC head and loss.

    Args:
        width (`int`): Width of the latents.
        tokenizer (`str`): Hub name or folder of a tokenizer; phonemes work best, then characters.
        texts (`dict[str, str]`): Text per clip id.
        hidden_size (`int`, *optional*, defaults to 256): Width of the head.

    `targets` maps a clip id to the class indices of its spoken tokens, (num_targets,), and `token_positions` to the
    indices of these tokens among all tokens of the text.

    Raises:
        ValueError: if the text of a clip has no spoken tokens; the message names the clip.
    """

    def __init__(self, width: int, tokenizer: str, texts: dict[str, str], hidden_size: int = 256):
        super().__init__()
        front_end = TextFrontEnd.from_pretrained(tokenizer)
        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        spoken_tokens = _spoken_tokens(tokenizer)
        class_of = {token: index for index, token in enumerate(spoken_tokens, start=1)}  # 0 is CTC's blank
        encoded = tokenizer(front_end.to_phonemes(list(texts.values())), add_special_tokens=False)["input_ids"]
        self.targets, self.token_positions = {}, {}
        for clip, ids in zip(texts, encoded, strict=True):
            pairs = [(class_of[token], position) for position, token in enumerate(ids) if token in class_of]
            classes, positions = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(1)
            self.targets[clip], self.token_positions[clip] = classes, positions
        for clip, target in self.targets.items():
            if not len(target):
                raise ValueError(f"clip {clip!r} has no text to learn: {texts[clip]!r}.")
        self.layers = nn.Sequential(
            nn.Conv1d(width, hidden_size, KERNEL_SIZE, padding=KERNEL_SIZE // 2),
            nn.GELU(),
            nn.Conv1d(hidden_size, hidden_size, KERNEL_SIZE, padding=KERNEL_SIZE // 2),
            nn.GELU(),
            nn.Conv1d(hidden_size, len(spoken_tokens) + 1, 1),
        )

    def forward(self, latents: torch.Tensor, clips: list[str]) -> torch.Tensor:
        """
        Args:
            latents (`torch.Tensor`): (batch_size, num_frames, width) of whole clips.
            clips (`list[str]`): Ids of the clips.

        Returns:
            `torch.Tensor`: scalar, nats per token. A text that is too long for its clip has loss 0.
        """
        log_probabilities = self.log_probabilities(latents).transpose(0, 1)
        targets = [self.targets[clip] for clip in clips]
        target_lengths = torch.tensor([len(target) for target in targets])
        return F.ctc_loss(
            log_probabilities,
            torch.cat(targets).to(latents.device),
            torch.full((len(clips),), latents.shape[1]),
            target_lengths,
            reduction="sum",
            zero_infinity=True,
        ) / int(target_lengths.sum())

    def log_probabilities(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (batch_size, num_frames, width) -> log probabilities (batch_size, num_frames, num_tokens + 1)."""
        return self.layers(latents.float().transpose(1, 2)).log_softmax(1).transpose(1, 2)


def _spoken_tokens(tokenizer) -> list[int]:
    """Returns the ids of tokens with a letter or digit; spaces and punctuation are not spoken."""
    special = set(tokenizer.all_special_ids)
    return [
        number
        for number in range(len(tokenizer))
        if number not in special and any(character.isalnum() for character in tokenizer.decode([number]))
    ]


__all__ = ["TextLoss"]
