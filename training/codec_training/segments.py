"""Batches of segments, each a function of seed, step and process alone: a resumed run needs no other position."""

import numpy as np
import torch

from training.codec_training.cache import CachedClip, ClipCache


class SegmentBatches:
    """
    Batches of equally long segments. A batch's length is drawn first; then every place where that many frames fit into
    a clip is as likely as any other.

    Args:
        cache (`ClipCache`)
        clips (`list[CachedClip]`): To draw from.
        segment_frames (`list[int]`): Lengths; those that no clip has are left out.
        frames_per_batch (`int`): A batch has this many frames, or the next multiple of the length below.
        seed (`int`)
        process_index (`int`, *optional*, defaults to 0): Processes draw lengths alike and segments apart.
    """

    def __init__(
        self,
        cache: ClipCache,
        clips: list[CachedClip],
        segment_frames: list[int],
        frames_per_batch: int,
        seed: int,
        process_index: int = 0,
    ):
        self.cache, self.seed, self.process_index = cache, seed, process_index
        self.frames_per_batch = frames_per_batch
        self.starts = np.array([clip.start for clip in clips])
        num_frames = np.array([clip.num_frames for clip in clips])
        # for every length, the number of places up to and including each clip
        self.places = {
            length: np.cumsum((num_frames - length + 1).clip(min=0))
            for length in segment_frames
            if length <= num_frames.max()
        }
        self.lengths = list(self.places)

    def __call__(self, step: int) -> dict[str, torch.Tensor]:
        """
        The batch of a step.

        Returns:
            `dict[str, torch.Tensor]`: as `ClipCache.segment`, stacked.
        """
        length = self.lengths[np.random.default_rng([self.seed, step]).integers(len(self.lengths))]
        generator = np.random.default_rng([self.seed, step, self.process_index + 1])
        places = self.places[length]
        drawn = generator.integers(places[-1], size=self.frames_per_batch // length)
        clip = np.searchsorted(places, drawn, side="right")
        offset = drawn - np.where(clip > 0, places[clip - 1], 0)
        segments = [self.cache.segment(int(start), length) for start in self.starts[clip] + offset]
        return {name: torch.from_numpy(np.stack([segment[name] for segment in segments])) for name in segments[0]}


__all__ = ["SegmentBatches"]
