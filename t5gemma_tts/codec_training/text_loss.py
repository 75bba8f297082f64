"""What is said shall be in the codes: connectionist temporal classification of text tokens from quantised latents.

Spectral distances weigh a vowel's loudness as much as what tells "ball" from "bell". A small head that has to spell the
clip's text from the codes alone, and its gradient through them, makes the encoder keep what tells words apart; a speech
model that learns such codes finds its text in them sooner. The head is for training only. CTC is Graves et al., 2006;
that codes which carry the text help speech models is the finding of SpeechTokenizer and Moshi's Mimi.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoTokenizer


KERNEL_SIZE = 5  # frames; two such layers see 4 frames, 80 ms, on each side


class TextLoss(nn.Module):
    """
    Args:
        width (`int`): Of the latents.
        tokenizer (`str`): Hub name or folder of a tokenizer; tokens of sounds suit best, then characters.
        texts (`dict[str, str]`): By id of a clip.
        hidden_size (`int`, *optional*, defaults to 256): Of the head.

    `targets` has what each clip says, numbers of audible tokens (num_targets,), and `places` where these tokens stand
    among all tokens of its text.

    Raises:
        ValueError: if a clip has no text that the tokenizer knows; names it.
    """

    def __init__(self, width: int, tokenizer: str, texts: dict[str, str], hidden_size: int = 256):
        super().__init__()
        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        audible = _audible_tokens(tokenizer)
        number_of = {token: number for number, token in enumerate(audible, start=1)}  # 0 is CTC's blank
        encoded = tokenizer(list(texts.values()), add_special_tokens=False)["input_ids"]
        self.targets, self.places = {}, {}
        for clip, ids in zip(texts, encoded, strict=True):
            heard = [(number_of[token], place) for place, token in enumerate(ids) if token in number_of]
            self.targets[clip], self.places[clip] = torch.tensor(heard, dtype=torch.long).view(-1, 2).unbind(1)
        for clip, target in self.targets.items():
            if not len(target):
                raise ValueError(f"clip {clip!r} has no text to learn: {texts[clip]!r}.")
        self.layers = nn.Sequential(
            nn.Conv1d(width, hidden_size, KERNEL_SIZE, padding=KERNEL_SIZE // 2),
            nn.GELU(),
            nn.Conv1d(hidden_size, hidden_size, KERNEL_SIZE, padding=KERNEL_SIZE // 2),
            nn.GELU(),
            nn.Conv1d(hidden_size, len(audible) + 1, 1),
        )

    def forward(self, latents: torch.Tensor, clips: list[str]) -> torch.Tensor:
        """
        Args:
            latents (`torch.Tensor`): (batch_size, num_frames, width) of whole clips.
            clips (`list[str]`): Their ids.

        Returns:
            `torch.Tensor`: scalar, nats per token. A text longer than its clip has frames for counts 0.
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
        """Of nothing new (0) and of each audible token: (batch_size, num_frames, width) -> (..., num_tokens + 1)."""
        return self.layers(latents.float().transpose(1, 2)).log_softmax(1).transpose(1, 2)


def _audible_tokens(tokenizer) -> list[int]:
    """Ids of tokens with a letter or digit: spaces and punctuation are not to be heard."""
    special = set(tokenizer.all_special_ids)
    return [
        number
        for number in range(len(tokenizer))
        if number not in special and any(character.isalnum() for character in tokenizer.decode([number]))
    ]


__all__ = ["TextLoss"]
