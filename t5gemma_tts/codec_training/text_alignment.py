"""Which text token each code speaks: a small recogniser of codes, and the likeliest path of the text through a clip.

The recogniser is the head of `TextLoss`, trained on the codes of the very dataset that is aligned, which takes a
minute: codes of a good codec tell sounds apart. The path is that of connectionist temporal classification (Graves et
al., 2006, section 4.1): every token of the text in its order, with any number of blank frames between them.
"""

import numpy as np
import torch

from ..model.xcodec2 import XCodec2
from .text_loss import TextLoss


def best_path(log_probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """
    The frame at which each target is spoken: the middle of its frames on the likeliest path.

    Args:
        log_probabilities (`np.ndarray`): (num_frames, num_tokens + 1); column 0 is the blank.
        targets (`np.ndarray`): (num_targets,), columns.

    Returns:
        `np.ndarray`: float (num_targets,), rising; `None` if the clip has too few frames for its text.
    """
    num_frames, num_states = len(log_probabilities), 2 * len(targets) + 1
    states = np.zeros(num_states, dtype=int)  # blank, target, blank, ... blank
    states[1::2] = targets
    can_skip = np.zeros(num_states, dtype=bool)  # the blank between two targets, unless they are the same
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


def text_positions(log_probabilities: np.ndarray, targets: np.ndarray, places: np.ndarray) -> np.ndarray:
    """
    The text token that each frame speaks, as a position between tokens that moves evenly from one to the next.

    Args:
        log_probabilities, targets: as in `best_path`.
        places (`np.ndarray`): (num_targets,), where the targets stand in the text.

    Returns:
        `np.ndarray`: float32 (num_frames,), never falling; even over a clip that is too short for its text.
    """
    num_frames = len(log_probabilities)
    spoken = best_path(log_probabilities, targets)
    if spoken is None:
        return np.linspace(places[0], places[-1], num_frames, dtype=np.float32)
    return np.interp(np.arange(num_frames), spoken, places).astype(np.float32)


class Aligner:
    """
    Args:
        codec (`XCodec2`): Of the codes.
        tokenizer (`str`): Hub name or folder of the speech model's tokenizer.
        ids, texts (`list[str]`): Of all rows, those that are trained on and others.

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
        Trains on rows: batches of equally long ones.

        Args:
            codes (`list[np.ndarray]`): (num_frames,) of each row.
            steps (`int`): of AdamW, whose rate rises at first and falls to 0.

        Returns:
            `list[float]`: the loss of every step, nats per token.
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
        """As `text_positions`, of one row; positions count the tokens that the tokenizer makes of its text."""
        log_probabilities = self.head.eval().log_probabilities(self._latents([codes]))[0].numpy()
        return text_positions(log_probabilities, self.head.targets[row_id].numpy(), self.head.places[row_id].numpy())

    @torch.no_grad()
    def _latents(self, codes: list[np.ndarray]) -> torch.Tensor:
        """Equally long rows -> (batch_size, num_frames, width)"""
        together = torch.from_numpy(np.stack(codes).astype(np.int64))
        return self.quantizer.from_codes(together[..., None])


__all__ = ["Aligner", "best_path", "text_positions"]
