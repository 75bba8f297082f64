"""The discriminators' side of a training step: their own optimiser, and what their verdict adds to the codec's loss."""

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


SOFTEST = 1e-2  # root mean square; silence stays silence


class AdversarialTraining:
    """
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

    def step_and_judge(
        self, audio: torch.Tensor, target: torch.Tensor, step: int, factor: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """
        Trains the discriminators on the batch, and lets them judge it.

        Args:
            audio, target (`torch.Tensor`): (batch_size, num_samples), made and recorded.
            step (`int`)
            factor (`float`): Of the learning rate.

        Returns:
            `(extra, losses)`: what the codec's loss gets in addition, with gradients to `audio`; and scalars to log.
        """
        arguments, kind = self.arguments, self.arguments.adversarial_loss
        if self.num_samples is not None and self.num_samples < audio.shape[1]:
            start = int(torch.randint(audio.shape[1] - self.num_samples + 1, ()))
            audio = audio[:, start : start + self.num_samples]
            target = target[:, start : start + self.num_samples]
        # at the recording's loudness of 1, soft clips are as easy to judge as loud ones
        loudness = target.square().mean(dim=1, keepdim=True).sqrt().clamp(min=SOFTEST)
        audio, target = audio / loudness, target / loudness
        self.networks.requires_grad_(True)
        with self.accelerator.autocast():
            scores, _ = self.networks(torch.cat([target, audio.detach()]))
        loss = discriminator_loss(*_halves(scores), kind)
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
            made, made_features = self.networks(audio)
            with torch.no_grad():
                _, real_features = self.networks(target)
        losses["adversarial"] = adversarial_loss(made, kind)
        losses["feature_matching"] = feature_matching_loss(real_features, made_features)
        extra = (
            arguments.adversarial_weight * losses["adversarial"]
            + arguments.feature_matching_weight * losses["feature_matching"]
        )
        return extra, losses


def _halves(scores: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    real, made = zip(*(score.chunk(2) for score in scores), strict=True)
    return list(real), list(made)


__all__ = ["AdversarialTraining"]
