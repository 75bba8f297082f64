"""Adversarial training: trains the discriminators and computes the adversarial losses of the codec."""

import math

import torch
from accelerate import Accelerator

from .arguments import CodecTrainingArguments
from .discriminators import (
    Discriminators,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)
from .gradients import average_and_clip


MIN_RMS = 1e-2  # lower bound for loudness normalization, so that silence is not amplified


class AdversarialTraining:
    """
    Discriminators with their own optimizer.

    Args:
        arguments (`CodecTrainingArguments`)
        hop_length (`int`): Samples per frame at the output rate.
        accelerator (`Accelerator`)
    """

    def __init__(self, arguments: CodecTrainingArguments, hop_length: int, accelerator: Accelerator):
        self.arguments, self.accelerator = arguments, accelerator
        self.start_step = arguments.discriminator_start_step or 0
        self.num_samples = None
        if arguments.discriminator_segment_frames is not None:
            self.num_samples = arguments.discriminator_segment_frames * hop_length
        self.networks = Discriminators(
            arguments.discriminator_periods, arguments.discriminator_windows, arguments.discriminator_channels
        ).to(accelerator.device)
        self.parameters = list(self.networks.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=arguments.discriminator_learning_rate,
            betas=tuple(arguments.adam_betas),
            weight_decay=arguments.weight_decay,
            fused=True,
        )

    def active(self, step: int) -> bool:
        return step >= self.start_step

    def train_step(
        self, audio: torch.Tensor, target: torch.Tensor, step: int, factor: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """
        Updates the discriminators on a batch, then computes the adversarial losses of the codec on it.

        Args:
            audio, target (`torch.Tensor`): (batch_size, num_samples), output of the codec and recordings.
            step (`int`): Training step, from 0.
            factor (`float`): Factor on the peak learning rate.

        Returns:
            `(total, losses)`: the weighted sum to add to the codec's loss, with gradients to `audio`; and scalars to
            log.
        """
        arguments, kind = self.arguments, self.arguments.adversarial_loss
        if self.num_samples is not None and self.num_samples < audio.shape[1]:
            start = int(torch.randint(audio.shape[1] - self.num_samples + 1, ()))
            audio = audio[:, start : start + self.num_samples]
            target = target[:, start : start + self.num_samples]
        # normalize loudness, so that discriminators classify soft clips as well as loud ones
        loudness = target.square().mean(dim=1, keepdim=True).sqrt().clamp(min=MIN_RMS)
        audio, target = audio / loudness, target / loudness
        self.networks.requires_grad_(True)
        with self.accelerator.autocast():
            scores, _ = self.networks(torch.cat([target, audio.detach()]))
        loss = discriminator_loss(*_split_scores(scores), kind)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = average_and_clip(self.parameters, arguments.max_grad_norm, self.accelerator)
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = arguments.discriminator_learning_rate * factor
            self.optimizer.step()
        losses = {"discriminator": loss.detach()}
        if step < self.start_step + arguments.discriminator_warmup_steps:
            return audio.new_zeros(()), losses
        self.networks.requires_grad_(False)
        with self.accelerator.autocast():
            generated, generated_features = self.networks(audio)
            with torch.no_grad():
                _, real_features = self.networks(target)
        losses["adversarial"] = adversarial_loss(generated, kind)
        losses["feature_matching"] = feature_matching_loss(real_features, generated_features)
        total = (
            arguments.adversarial_weight * losses["adversarial"]
            + arguments.feature_matching_weight * losses["feature_matching"]
        )
        return total, losses


def _split_scores(scores: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    real, generated = zip(*(score.chunk(2) for score in scores), strict=True)
    return list(real), list(generated)


__all__ = ["AdversarialTraining"]
