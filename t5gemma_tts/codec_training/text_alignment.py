"""CTC forced alignment of codes and text tokens.

The acoustic model is the CTC head of `TextLoss`, trained for about a minute on the codes of the dataset to align. The
alignment is the Viterbi path of connectionist temporal classification (Graves et al., 2006, section 4.1): all text
tokens in order, with any number of blank frames in between.
"""

import numpy as np
import torch

from ..model.xcodec2 import XCodec2
from .text_loss import TextLoss


def best_path(log_probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """
    Viterbi alignment: the mean frame of each target on the most likely CTC path.

    Args:
        log_probabilities (`np.ndarray`): (num_frames, num_tokens + 1); column 0 is the blank.
        targets (`np.ndarray`): (num_targets,), column indices.

    Returns:
        `np.ndarray`: float64 (num_targets,), increasing; `None` if the clip has too few frames for its text.
    """
    num_frames, num_states = len(log_probabilities), 2 * len(targets) + 1
    states = np.zeros(num_states, dtype=int)  # blank, target, blank, ... blank
    states[1::2] = targets
    can_skip = np.zeros(num_states, dtype=bool)  # CTC may skip the blank between two different targets
    can_skip[3::2] = targets[1:] != targets[:-1]
    emissions = log_probabilities[:, states]
    score = np.full(num_states, -np.inf)
    score[:2] = emissions[0, :2]
    steps = np.zeros((num_frames, num_states), dtype=np.int8)
    ways = np.full((3, num_states), -np.inf)
    for frame in range(1, num_frames):
        ways[0], ways[1, 1:] = score, score[:-1]
        ways[2, 2:] = np.where(can_skip[2:], score[:-2], -np.inf)
        steps[frame] = ways.argmax(0)
        score = ways.max(0) + emissions[frame]
    state = num_states - 1 - int(num_states > 1 and score[-2] > score[-1])
    if score[state] == -np.inf:
        return None
    path = np.empty(num_frames, dtype=int)
    for frame in range(num_frames - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    frames = np.arange(num_frames)
    return np.array([frames[path == 2 * number + 1].mean() for number in range(len(targets))])


def text_positions(log_probabilities: np.ndarray, targets: np.ndarray, token_positions: np.ndarray) -> np.ndarray:
    """
    Text position of each frame, interpolated linearly between the aligned tokens.

    Args:
        log_probabilities, targets: as in `best_path`.
        token_positions (`np.ndarray`): (num_targets,), indices of the targets among all tokens of the text.

    Returns:
        `np.ndarray`: float32 (num_frames,), non-decreasing; linear over the clip if it is too short for its text.
    """
    num_frames = len(log_probabilities)
    spoken = best_path(log_probabilities, targets)
    if spoken is None:
        return np.linspace(token_positions[0], token_positions[-1], num_frames, dtype=np.float32)
    return np.interp(np.arange(num_frames), spoken, token_positions).astype(np.float32)


class Aligner:
    """
    CTC forced aligner of codes and texts.

    Args:
        codec (`XCodec2`): Codec that made the codes.
        tokenizer (`str`): Hub name or folder of the tokenizer of the speech model.
        ids, texts (`list[str]`): Ids and texts of all rows to train on or to align.

    Raises:
        ValueError: as `TextLoss`.
    """

    def __init__(self, codec: XCodec2, tokenizer: str, ids: list[str], texts: list[str]):
        self.quantizer = codec.model.quantizer
        self.head = TextLoss(self.quantizer.project_out.out_features, tokenizer, dict(zip(ids, texts, strict=True)))

    def train(
        self, ids: list[str], codes: list[np.ndarray], steps: int, seed: int = 0, frames_per_batch: int = 1024
    ) -> list[float]:
        """
        Trains the CTC head on batches of rows of equal length.

        Args:
            ids (`list[str]`): Row ids.
            codes (`list[np.ndarray]`): (num_frames,) per row.
            steps (`int`): Steps of AdamW with a one-cycle learning rate schedule.
            seed (`int`, *optional*, defaults to 0)
            frames_per_batch (`int`, *optional*, defaults to 1024)

        Returns:
            `list[float]`: the loss of each step, in nats per token.
        """
        rows_of: dict[int, list[int]] = {}
        for row, own in enumerate(codes):
            rows_of.setdefault(len(own), []).append(row)
        generator = np.random.default_rng(seed)
        optimizer = torch.optim.AdamW(self.head.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
        losses = []
        self.head.train()
        for _ in range(steps):
            length = len(codes[generator.integers(len(codes))])
            group = rows_of[length]
            chosen = generator.choice(group, min(len(group), max(1, frames_per_batch // length)), replace=False)
            loss = self.head(self._latents([codes[row] for row in chosen]), [ids[row] for row in chosen])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        return losses

    @torch.no_grad()
    def align(self, row_id: str, codes: np.ndarray) -> np.ndarray:
        """Returns the [`text_positions`] of one row: float32 (num_frames,), indices into the tokens of its text."""
        log_probabilities = self.head.eval().log_probabilities(self._latents([codes]))[0].numpy()
        return text_positions(
            log_probabilities, self.head.targets[row_id].numpy(), self.head.token_positions[row_id].numpy()
        )

    @torch.no_grad()
    def _latents(self, codes: list[np.ndarray]) -> torch.Tensor:
        """Rows of equal length -> latents (batch_size, num_frames, width)."""
        codes_batch = torch.from_numpy(np.stack(codes).astype(np.int64))
        return self.quantizer.from_codes(codes_batch[..., None])


__all__ = ["Aligner", "best_path", "text_positions"]
