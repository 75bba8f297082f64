"""Evaluation during training: loss per token, text conditioning, and synthesized sentences."""

from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import EvalLoopOutput

from ..model.reference import load_transcriber
from .conditioning import measure_cross_attention, with_swapped_texts
from .sample_sentences import speak_sentences


class EvaluationMixin:
    """Mixin with the evaluation methods of a `Trainer`; `processor` is needed to synthesize sentences."""

    args: Any
    model: Any
    processor: Any
    transcribe: Any  # loaded on first use

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """Evaluates like transformers' Trainer, but does not change the random state of training."""
        cuda = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            return super().evaluate(*args, **kwargs)

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """Computes loss and top-10 accuracy per target token, text conditioning, and metrics of `eval_sentences`."""
        model = self._wrap_model(self.model, training=False, dataloader=dataloader)
        if self.model is self.model_wrapped:
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
        model.eval()
        # sums over all batches, over batches of two or more rows, and over the latter with swapped texts
        all_sums, matched, swapped = torch.zeros(3, 3, dtype=torch.float64, device=self.args.device)
        first_batch = None
        for inputs in dataloader:
            inputs = self._prepare_inputs(inputs)
            first_batch = inputs if first_batch is None else first_batch
            sums = self._eval_sums(model, inputs)
            all_sums += sums
            if self.args.eval_conditioning and (swapped_inputs := with_swapped_texts(inputs)) is not None:
                swapped += self._eval_sums(model, swapped_inputs)
                matched += sums
        (loss, targets, top10), matched, swapped = self.accelerator.reduce(
            torch.stack([all_sums, matched, swapped]), "sum"
        ).tolist()
        metrics = {"loss": loss / max(targets, 1), "top10_accuracy": top10 / max(targets, 1)}
        if swapped[1]:
            metrics["text_gap"] = (swapped[0] - matched[0]) / swapped[1]
        if self.args.eval_conditioning and metric_key_prefix == "eval":
            metrics |= self._measure_cross_attention(first_batch)
        if self.args.eval_sentences and metric_key_prefix == "eval":
            metrics |= self._evaluate_sentences()
        num_samples = len(dataloader.dataset)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=num_samples)

    def _eval_sums(self, model, inputs) -> torch.Tensor:
        """Returns the summed loss, the number of targets and of top-10 hits, float64 of shape `(3,)`."""
        with torch.no_grad():
            outputs = model(**inputs, skip_logits=True, use_cache=False)
        targets = outputs["num_targets"].double()
        return torch.stack([outputs["loss"].double() * targets, targets, outputs["num_top10"].double()])

    def _evaluation_folder(self) -> Path:
        return Path(self.args.output_dir, "spoken", f"step-{self.state.global_step}")

    def _measure_cross_attention(self, batch) -> dict[str, float]:
        main_process = self.is_world_process_zero()
        picture = self._evaluation_folder() / "attention.png" if main_process else None
        metrics, image = measure_cross_attention(self.accelerator.unwrap_model(self.model), batch, picture)
        for writer in self._tensorboard_writers():
            writer.add_image("attention", image, self.state.global_step, dataformats="HW")
        # each rank measures another row, but all need the same value to select the best checkpoint
        own = torch.tensor(list(metrics.values()), device=self.args.device)
        return dict(zip(metrics, self.accelerator.reduce(own, "mean").tolist(), strict=True))

    def _tensorboard_writers(self) -> list:
        writers = [getattr(callback, "tb_writer", None) for callback in self.callback_handler.callbacks]
        return [writer for writer in writers if writer is not None]

    def _evaluate_sentences(self) -> dict[str, float]:
        metrics: list = [None]
        if self.is_world_process_zero():
            if self.args.eval_asr and self.transcribe is None:
                self.transcribe = load_transcriber(self.args.eval_asr)
            model = self.accelerator.unwrap_model(self.model)
            metrics[0], waveforms = speak_sentences(
                model,
                self.processor,
                self.args.eval_sentences,
                self._evaluation_folder(),
                self.args.eval_seed,
                self.transcribe,
            )
            self._log_audio(waveforms)
        if self.args.world_size > 1:
            torch.distributed.broadcast_object_list(metrics)
        return metrics[0]

    def _log_audio(self, waveforms: list) -> None:
        """Logs audio to TensorBoard and W&B if they are in `report_to`; the WAV files are always written."""
        for number, waveform in enumerate(waveforms):
            for writer in self._tensorboard_writers():
                if len(waveform):
                    audio = torch.from_numpy(waveform.clip(-1, 1))[None]
                    writer.add_audio(f"spoken/{number}", audio, self.state.global_step, self.processor.sampling_rate)
        if "wandb" in self.args.report_to:
            import wandb

            clips = [wandb.Audio(w, sample_rate=self.processor.sampling_rate) for w in waveforms if len(w)]
            wandb.log({"spoken": clips}, commit=False)


__all__ = ["EvaluationMixin"]
