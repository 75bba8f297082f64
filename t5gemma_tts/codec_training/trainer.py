"""`CodecTrainer`: training loop with adversarial losses, weight averaging, logs and checkpoints."""

import json
import logging
import math
import os
import time
from collections import Counter
from pathlib import Path

import torch
from accelerate import Accelerator

from ..model.xcodec2 import XCodec2
from .adversarial import AdversarialTraining
from .arguments import CodecModelArguments, CodecTrainingArguments
from .cache import ClipCache
from .checkpoints import checkpoints, load_checkpoint, save_checkpoint
from .codebook_spread import CodebookSpreadLoss
from .codebook_use import perplexity
from .ema import AveragedModel
from .feature_loss import FeatureLoss
from .gradients import average_and_clip
from .losses import SpectralLoss
from .model import CodecForTraining
from .segments import SegmentBatches, WholeClipBatches
from .text_loss import TextLoss
from .validation import Validation


logger = logging.getLogger(__name__)

LOG_FILE = "losses.jsonl"
RECIPE_FILE = "training_recipe.json"


def learning_rate_factor(step: int, max_steps: int, warmup_steps: int, final_ratio: float) -> float:
    """Returns the factor on the peak learning rate: linear warmup, then cosine decay to `final_ratio`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, max_steps - warmup_steps))
    return final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


class CodecTrainer:
    """
    Trains a codec and saves the averaged weights to `arguments.output_dir`.

    Args:
        codec (`XCodec2`): Its model is trained in place.
        model_arguments (`CodecModelArguments`): Define the frozen parts.
        arguments (`CodecTrainingArguments`)
        cache (`ClipCache`): Clips for training and validation.
        settings (`dict`): All options of the run; saved with the codec and compared on resume.
        accelerator (`Accelerator`)
        texts (`dict[str, str]`, *optional*): Text per training clip id; required for `arguments.text_weight`.

    Raises:
        ValueError: if `text_weight` is used with a frozen encoder or clips without text, or `listening_weight` with a
            new model.
    """

    def __init__(
        self,
        codec: XCodec2,
        model_arguments: CodecModelArguments,
        arguments: CodecTrainingArguments,
        cache: ClipCache,
        settings: dict,
        accelerator: Accelerator,
        texts: dict[str, str] | None = None,
    ):
        self.arguments, self.settings, self.accelerator = arguments, settings, accelerator
        self.folder = Path(arguments.output_dir)
        device = accelerator.device
        codec.to(device)
        self.codec = CodecForTraining(
            codec.model,
            model_arguments.freeze_encoder,
            model_arguments.freeze_waveform_encoder,
            model_arguments.freeze_decoder,
        ).train()
        self.parameters = [parameter for parameter in self.codec.parameters() if parameter.requires_grad]
        self.text_loss = None
        if arguments.text_weight:
            if model_arguments.freeze_encoder:
                raise ValueError("`text_weight` trains the encoder, so it cannot be used with `freeze_encoder`.")
            width = codec.model.quantizer.project_out.out_features
            self.text_loss = TextLoss(width, arguments.text_tokenizer, texts or {}).to(device)
            self.parameters += list(self.text_loss.parameters())
        self.feature_loss = None
        if arguments.listening_weight:
            if settings["model"] is None:
                raise ValueError("`listening_weight` needs `model`: the feature loss uses a pretrained encoder.")
            self.feature_loss = FeatureLoss(codec).to(device)
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=arguments.learning_rate,
            betas=tuple(arguments.adam_betas),
            weight_decay=arguments.weight_decay,
            fused=True,
        )
        self.average = AveragedModel(codec.model, arguments.ema_decay)
        self.loss = SpectralLoss(codec.sampling_rate, arguments.resolutions, arguments.log_floor).to(device)
        self.spread_loss = CodebookSpreadLoss(codec.model.quantizer) if arguments.spread_weight else None
        self.modules = {"model": codec.model, "average": self.average.model}
        self.optimizers = {"codec": self.optimizer}
        self.adversarial = None
        if arguments.discriminator_start_step is not None:
            self.adversarial = AdversarialTraining(arguments, cache.output_hop_length, accelerator)
            self.modules["discriminators"] = self.adversarial.networks
            self.optimizers["discriminators"] = self.adversarial.optimizer
        if self.text_loss is not None:
            self.modules["text"] = self.text_loss
        clips, frames = cache.split("train"), arguments.frames_per_batch
        seeds = arguments.seed, accelerator.process_index
        if self.text_loss is not None or arguments.whole_clips:
            self.batches = WholeClipBatches(cache, clips, frames, *seeds)
        else:
            self.batches = SegmentBatches(cache, clips, arguments.segment_frames, frames, *seeds)
        self.validation = Validation(cache, codec, self.loss, arguments)
        self.step, self.num_skipped_steps = 0, 0
        self._reset_counters()

    def resume(self) -> bool:
        """
        Resumes from the last checkpoint.

        Returns:
            `bool`: whether there was a checkpoint.

        Raises:
            ValueError: if the checkpoint is from a run with other options.
        """
        found = checkpoints(self.folder)
        if not found:
            return False
        state = load_checkpoint(self.accelerator, found[-1], self.settings, self.modules, self.optimizers)
        self.step, self.num_skipped_steps = state["step"], state["num_skipped_steps"]
        self._restore_counters(state["counters"])
        if self.accelerator.is_main_process:
            self._cut_log()
        return True

    def train(self) -> None:
        """
        Trains up to `max_steps` and saves the codec.

        Raises:
            RuntimeError: after `max_skipped_steps` steps with NaN or infinite gradients.
        """
        arguments = self.arguments
        while self.step < arguments.max_steps:
            self._train_step()
            self.step += 1
            last = self.step == arguments.max_steps
            if self.step % arguments.logging_steps == 0 or last:
                self._log()
            if arguments.eval_steps and (self.step % arguments.eval_steps == 0 or last):
                self._evaluate()
            if self.step % arguments.save_steps == 0 or last:
                self._save_checkpoint()
        if self.accelerator.is_main_process:
            self.save()

    def _train_step(self) -> None:
        arguments, accelerator = self.arguments, self.accelerator
        batch = self.batches(self.step)
        clips = batch.pop("clips", None)
        batch = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
        factor = self._learning_rate_factor()
        if self.step < arguments.text_only_steps:
            with accelerator.autocast():
                latents = self.codec.semantic_latents(batch["features"])
            losses = {"text": self.text_loss(latents, clips)}
            total, codes = losses["text"], None
        else:
            losses, total, codes = self._losses(batch, clips, factor)
        losses["loss"] = total
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = average_and_clip(self.parameters, arguments.max_grad_norm, accelerator)
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = arguments.learning_rate * factor
            self.optimizer.step()
        else:
            self._skip(norm)
        self.average.update(self.step)
        self._count(losses, norm, codes)

    def _losses(
        self, batch: dict, clips: list[str] | None, factor: float
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        """Of a batch: all that are logged, their weighted sum, and codes; discriminators make their own step."""
        arguments, accelerator = self.arguments, self.accelerator
        target = batch["target"]
        if "codes" in batch:
            codes = batch["codes"]
            latents = self.codec.latents_of(codes)
        else:
            with accelerator.autocast():
                semantic = self.codec.semantic(batch["features"])
            latents, codes, projected = self.codec.encode(batch["audio"], semantic)
        with accelerator.autocast():
            audio = self.codec.decode(latents)
        length = min(audio.shape[1], target.shape[1])  # upsamplers can make a few samples more
        audio, target = audio[:, :length].float(), target[:, :length]
        losses = self.loss(audio, target)
        total = arguments.mel_weight * losses["mel"] + arguments.stft_weight * losses["stft"]
        if "codes" not in batch and self.spread_loss is not None:
            losses["spread"] = self.spread_loss(projected)
            total = total + arguments.spread_weight * losses["spread"]
        if self.text_loss is not None:
            losses["text"] = self.text_loss(latents, clips)
            total = total + arguments.text_weight * losses["text"]
        if self.feature_loss is not None:
            with accelerator.autocast():
                losses["listening"] = self.feature_loss(audio, target)
            total = total + arguments.listening_weight * losses["listening"]
        if self.adversarial is not None and self.adversarial.active(self.step):
            # updates the discriminators on detached audio, then scores the same audio with gradients
            adversarial_total, adversarial_losses = self.adversarial.train_step(audio, target, self.step, factor)
            losses |= adversarial_losses
            total = total + adversarial_total
        return losses, total, codes

    def _learning_rate_factor(self) -> float:
        arguments = self.arguments
        return learning_rate_factor(
            self.step, arguments.max_steps, arguments.warmup_steps, arguments.final_learning_rate_ratio
        )

    def _skip(self, norm: float) -> None:
        self.num_skipped_steps += 1
        logger.warning("step %d skipped: the gradient norm is %s.", self.step + 1, norm)
        if self.num_skipped_steps >= self.arguments.max_skipped_steps:
            raise RuntimeError(
                f"{self.num_skipped_steps} steps had NaN or infinite gradients (`max_skipped_steps`); lower "
                "`learning_rate`, or check the recordings. The last checkpoint is unaffected."
            )

    def _reset_counters(self) -> None:
        self._sums, self._counts, self._codes = Counter(), Counter(), Counter()
        self._counting_since, self._num_timed = time.perf_counter(), 0

    def _restore_counters(self, counters: dict) -> None:
        self._reset_counters()
        self._sums.update(counters["sums"])
        self._counts.update(counters["counts"])
        self._codes.update({int(code): count for code, count in counters["codes"].items()})

    def _count(self, losses: dict[str, torch.Tensor], norm: float, codes: torch.Tensor | None) -> None:
        values = {name: float(value.detach()) for name, value in losses.items()} | {"grad_norm": norm}
        self._sums.update(values)
        self._counts.update(values.keys())
        if codes is not None:
            ids, counts = codes.unique(return_counts=True)
            self._codes.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        self._num_timed += 1

    def _log(self) -> None:
        logs = {name: value / self._counts[name] for name, value in self._sums.items()}
        if self._codes:
            logs |= {"codes_used": len(self._codes), "code_perplexity": perplexity(self._codes)}
        logs["learning_rate"] = self.arguments.learning_rate * self._learning_rate_factor()
        logs["seconds_per_step"] = (time.perf_counter() - self._counting_since) / max(self._num_timed, 1)
        self._write_log(logs)
        self._reset_counters()

    def _evaluate(self) -> None:
        if not self.accelerator.is_main_process or not self.validation.clips:
            return
        metrics, sounds = self.validation(XCodec2(self.average.model))
        self._write_log(metrics)
        for tracker in self.accelerator.trackers:
            log_sounds(tracker, sounds, self.validation.sampling_rate, self.step)
        self._counting_since, self._num_timed = time.perf_counter(), 0

    def _write_log(self, logs: dict[str, float]) -> None:
        self.accelerator.log(logs, step=self.step)
        if not self.accelerator.is_main_process:
            return
        logger.info("step %d  %s", self.step, "  ".join(f"{name} {value:.4g}" for name, value in logs.items()))
        with open(self.folder / LOG_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self.step, **logs}) + "\n")

    def _cut_log(self) -> None:
        """Removes log lines after the checkpoint, because these steps run again."""
        path = self.folder / LOG_FILE
        if not path.is_file():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= self.step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        os.replace(temporary, path)

    def _save_checkpoint(self) -> None:
        state = {
            "step": self.step,
            "num_skipped_steps": self.num_skipped_steps,
            "num_processes": self.accelerator.num_processes,
            "settings": self.settings,
            "counters": {"sums": self._sums, "counts": self._counts, "codes": self._codes},
        }
        save_checkpoint(
            self.accelerator, self.folder, state, self.modules, self.optimizers, self.arguments.save_total_limit
        )
        self._counting_since, self._num_timed = time.perf_counter(), 0

    def save(self) -> None:
        """Saves the averaged codec and the recipe to the output folder."""
        XCodec2(self.average.model).save_pretrained(self.folder)
        text = json.dumps(self.settings, indent=2, sort_keys=True) + "\n"
        (self.folder / RECIPE_FILE).write_text(text, encoding="utf-8")


def log_sounds(tracker, sounds: dict, sampling_rate: int, step: int) -> None:
    """Sends waveforms, float32 (num_samples,), to TensorBoard or W&B; other trackers get none."""
    if tracker.name == "tensorboard":
        for name, waveform in sounds.items():
            tracker.writer.add_audio(name, torch.from_numpy(waveform.clip(-1, 1))[None], step, sampling_rate)
    elif tracker.name == "wandb":
        import wandb

        clips = {name: wandb.Audio(waveform, sample_rate=sampling_rate) for name, waveform in sounds.items()}
        tracker.tracker.log(clips, step=step)


__all__ = ["CodecTrainer", "learning_rate_factor", "log_sounds"]
