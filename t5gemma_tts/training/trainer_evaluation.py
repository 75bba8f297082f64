"""What a trainer finds out between steps: the loss per token, whether the text is heard, and how sentences sound."""

from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import EvalLoopOutput

from ..model.reference import load_transcriber
from .conditioning import look, with_wrong_texts
from .sample_sentences import speak_sentences


class EvaluationMixin:
    """The evaluation of a `Trainer`, which stands behind this class; its `processor` makes the sentences' sound."""

    args: Any
    model: Any
    processor: Any
    transcribe: Any  # loaded when it is first needed

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """As in transformers, but training's random numbers are the same with evaluations and without."""
        cuda = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            return super().evaluate(*args, **kwargs)

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """Loss and top-10 accuracy per target token over the whole dataset, and what the sentences sound like."""
        model = self._wrap_model(self.model, training=False, dataloader=dataloader)
        if self.model is self.model_wrapped:
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
        model.eval()
        # of all batches; of those that wrong texts can be made for; of those with wrong texts
        all_sums, own, wrong = torch.zeros(3, 3, dtype=torch.float64, device=self.args.device)
        first = None
        for inputs in dataloader:
            inputs = self._prepare_inputs(inputs)
            first = inputs if first is None else first
            sums = self._eval_sums(model, inputs)
            all_sums += sums
            if self.args.eval_conditioning and (shuffled := with_wrong_texts(inputs)) is not None:
                wrong += self._eval_sums(model, shuffled)
                own += sums
        (loss, targets, top10), own, wrong = self.accelerator.reduce(
            torch.stack([all_sums, own, wrong]), "sum"
        ).tolist()
        metrics = {"loss": loss / max(targets, 1), "top10_accuracy": top10 / max(targets, 1)}
        if wrong[1]:
            metrics["text_gap"] = (wrong[0] - own[0]) / wrong[1]
        if self.args.eval_conditioning and metric_key_prefix == "eval":
            metrics |= self._look(first)
        if self.args.eval_sentences and metric_key_prefix == "eval":
            metrics |= self._speak()
        num_samples = len(dataloader.dataset)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=num_samples)

    def _eval_sums(self, model, inputs) -> torch.Tensor:
        """Summed loss, targets, top-10 hits, `(3,)`."""
        with torch.no_grad():
            outputs = model(**inputs, skip_logits=True, use_cache=False)
        targets = outputs["num_targets"].double()
        return torch.stack([outputs["loss"].double() * targets, targets, outputs["num_top10"].double()])

    def _folder_of_evaluation(self) -> Path:
        return Path(self.args.output_dir, "spoken", f"step-{self.state.global_step}")

    def _look(self, batch) -> dict[str, float]:
        main_process = self.is_world_process_zero()
        picture = self._folder_of_evaluation() / "attention.png" if main_process else None
        metrics, image = look(self.accelerator.unwrap_model(self.model), batch, picture)
        for writer in self._tensorboards():
            writer.add_image("attention", image, self.state.global_step, dataformats="HW")
        # ranks look at other rows, and must agree on what is best
        own = torch.tensor(list(metrics.values()), device=self.args.device)
        return dict(zip(metrics, self.accelerator.reduce(own, "mean").tolist(), strict=True))

    def _tensorboards(self) -> list:
        writers = [getattr(callback, "tb_writer", None) for callback in self.callback_handler.callbacks]
        return [writer for writer in writers if writer is not None]

    def _speak(self) -> dict[str, float]:
        metrics: list = [None]
        if self.is_world_process_zero():
            if self.args.eval_asr and self.transcribe is None:
                self.transcribe = load_transcriber(self.args.eval_asr)
            model = self.accelerator.unwrap_model(self.model)
            metrics[0], waveforms = speak_sentences(
                model,
                self.processor,
                self.args.eval_sentences,
                self._folder_of_evaluation(),
                self.args.eval_seed,
                self.transcribe,
            )
            self._log_audio(waveforms)
        if self.args.world_size > 1:
            torch.distributed.broadcast_object_list(metrics)
        return metrics[0]

    def _log_audio(self, waveforms: list) -> None:
        """To TensorBoard and W&B where they are reported to; the WAV files are there in any case."""
        for number, waveform in enumerate(waveforms):
            for writer in self._tensorboards():
                if len(waveform):
                    sound = torch.from_numpy(waveform.clip(-1, 1))[None]
                    writer.add_audio(f"spoken/{number}", sound, self.state.global_step, self.processor.sampling_rate)
        if "wandb" in self.args.report_to:
            import wandb

            clips = [wandb.Audio(w, sample_rate=self.processor.sampling_rate) for w in waveforms if len(w)]
            wandb.log({"spoken": clips}, commit=False)


__all__ = ["EvaluationMixin"]
