"""`T5GemmaTTSTrainer`: transformers' Seq2SeqTrainer with token-budget batches, chunked loss, atomic checkpoints."""

import logging
import math
import shutil
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, Seq2SeqTrainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import get_last_checkpoint, rotate_checkpoints

from .. import T5GemmaTTSProcessor
from ..model_cards.build import build_card
from ..sharded.resuming import check_resumable, explain_load_errors, explain_save_errors
from .activation_checkpointing import enable_selective_checkpointing
from .arguments import SCALED_ADAM, T5GemmaTTSTrainingArguments
from .batching import TokenBatchSampler
from .code_masking import mask_codes
from .dataset import TEXT_POSITIONS, SpeechCollator, SpeechDataset
from .eden import Eden
from .guided_attention import guided_attention_loss
from .optim import ScaledAdam
from .prompts import PromptOptions, PromptSampler
from .trainer_evaluation import EvaluationMixin


logger = logging.getLogger(__name__)

UNFINISHED_FOLDER = "_unfinished-checkpoint"  # uploads skip names with a leading underscore


class T5GemmaTTSTrainer(EvaluationMixin, Seq2SeqTrainer):
    """
    Trains [`T5GemmaTTSForConditionalGeneration`] on prepared datasets.

    Batches and prompts depend only on seed and epoch. The loss is averaged over the target tokens of all accumulated
    batches and ranks and is computed in chunks, without storing all logits. Checkpoints are written atomically.

    Args:
        model: the model, or a PEFT model around it.
        args (`T5GemmaTTSTrainingArguments`)
        train_dataset, eval_dataset (`SpeechDataset`)
        prompt_options (`PromptOptions`, *optional*): how reference prompts are drawn.
        dataset_weights (`list[float]`, *optional*): as in `TokenBatchSampler`.
        processor (`T5GemmaTTSProcessor`, *optional*): saved with checkpoints; needed for `args.eval_sentences`.

    Raises:
        ValueError: if `args.eval_sentences` is set without `processor`, if guided attention is used without eager
            attention, or if only one of `args.guided_attention_tokens` and `text_positions` of the dataset is given.
    """

    def __init__(
        self,
        model,
        args: T5GemmaTTSTrainingArguments,
        train_dataset: SpeechDataset,
        eval_dataset: SpeechDataset | None = None,
        prompt_options: PromptOptions | None = None,
        dataset_weights: list[float] | None = None,
        processor: T5GemmaTTSProcessor | None = None,
        **kwargs,
    ):
        if args.eval_sentences and processor is None:
            raise ValueError("`eval_sentences` needs `processor`, which decodes codes into audio.")
        self.prompt_options = prompt_options or PromptOptions()
        self.dataset_weights = dataset_weights or None
        self.processor = processor
        self.num_skipped_steps = 0
        self.transcribe = None
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=SpeechCollator(train_dataset.config),
            **kwargs,
        )
        if args.guided_attention_weight:
            implementation = model.get_decoder().config._attn_implementation
            if implementation != "eager":
                raise ValueError(
                    f"`guided_attention_weight` needs eager attention, but the model runs {implementation}."
                )
            aligned = train_dataset.text_positions is not None
            if aligned != (args.guided_attention_tokens is not None):
                raise ValueError(
                    "`guided_attention_tokens` needs a training dataset with `text_positions`, and the other way "
                    f"round: got {args.guided_attention_tokens} and a dataset {'with' if aligned else 'without'} it."
                )
        if args.selective_checkpointing:
            enable_selective_checkpointing(model)
        if args.early_stopping_patience:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))
        self._reset_counters()

    def _sampler(self, dataset: SpeechDataset, training: bool) -> TokenBatchSampler:
        prompt_sampler = None
        if training and self.prompt_options.prompt_probability > 0:
            prompt_sampler = PromptSampler(
                dataset.num_frames,
                dataset.speakers,
                dataset.config.frame_rate,
                self.prompt_options,
                start_seconds=dataset.start_seconds,
                neighbors=dataset.neighbors,
                utterances=dataset.utterances,
                speaker_names=dataset.speaker_names,
            )
        return TokenBatchSampler(
            dataset.num_frames,
            dataset.num_text_tokens,
            self.args.max_tokens_per_batch,
            prompts=prompt_sampler,
            dataset_of_row=dataset.dataset_of_row,
            dataset_weights=self.dataset_weights if training else None,
            row_names=dataset.name,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
            group_size=self.args.batch_group_size,
        )

    def _loader(self, dataset: SpeechDataset, training: bool) -> DataLoader:
        workers = self.args.dataloader_num_workers
        return self.accelerator.prepare(
            DataLoader(
                dataset,
                batch_sampler=self._sampler(dataset, training),
                collate_fn=self.data_collator,
                num_workers=workers,
                pin_memory=self.args.dataloader_pin_memory,
                persistent_workers=self.args.dataloader_persistent_workers and workers > 0,
            )
        )

    def get_train_dataloader(self) -> DataLoader:
        return self._loader(self.train_dataset, training=True)

    def get_eval_dataloader(self, eval_dataset=None) -> DataLoader:
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise ValueError("evaluation needs `eval_dataset`.")
        return self._loader(dataset, training=False)

    def create_optimizer(self, model=None):
        if self.args.optim != SCALED_ADAM:
            return super().create_optimizer(model)
        if self.optimizer is None:
            parameters = [p for p in (model or self.model).parameters() if p.requires_grad]
            self.optimizer = ScaledAdam(
                parameters, lr=self.args.learning_rate, clipping_update_period=self.args.clipping_update_period
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        if self.args.optim != SCALED_ADAM:
            return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            self.lr_scheduler = Eden(
                optimizer or self.optimizer,
                warmup_batches=self._eden_warmup(num_training_steps),
                lr_batches=self.args.eden_batches,
                lr_epochs=self.args.eden_epochs,
                pseudo_epoch_size=self.args.eden_pseudo_epoch_steps,
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _eden_warmup(self, num_training_steps: int) -> float:
        """Like `get_warmup_steps`, but does not round a fraction of all steps, as in the original."""
        warmup = self.args.warmup_steps
        return warmup * num_training_steps if 0 < warmup < 1 else self.args.get_warmup_steps(num_training_steps)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs, batch = {name: value for name, value in inputs.items() if name != TEXT_POSITIONS}, inputs
        if model.training and (self.args.audio_mask_probability or self.args.audio_mask_row_probability):
            codes = mask_codes(
                inputs["decoder_input_ids"],
                self.train_dataset.config,
                self.args.audio_mask_probability,
                self.args.audio_mask_row_probability,
            )
            inputs = {**inputs, "decoder_input_ids": codes}
        guided = model.training and self.args.guided_attention_weight > 0
        loss, outputs = super().compute_loss(
            model,
            {**inputs, "skip_logits": True, "use_cache": False, "output_attentions": guided},
            return_outputs=True,
            num_items_in_batch=num_items_in_batch,
        )
        if guided:
            loss = loss + self._guided_loss(outputs, batch, num_items_in_batch)
        if model.training:
            masks = inputs["attention_mask"], inputs["decoder_attention_mask"]
            self._counters += torch.stack(
                [
                    outputs["num_targets"],
                    outputs["num_top10"],
                    sum(mask.sum() for mask in masks),
                    sum(torch.tensor(mask.numel(), device=mask.device) for mask in masks),
                ]
            ).to(self._counters.device)
        return (loss, outputs) if return_outputs else loss

    def _guided_loss(self, outputs, batch, num_items_in_batch) -> torch.Tensor:
        width = self.args.guided_attention_tokens or self.args.guided_attention_width
        off_diagonal = guided_attention_loss(outputs["cross_attentions"], batch, self.train_dataset.config, width)
        self._off_diagonal += off_diagonal.detach()
        count, ranks = outputs["num_targets"], 1
        if num_items_in_batch is not None:  # same normalization as the Trainer's main loss
            count = num_items_in_batch
            ranks = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return self.args.guided_attention_weight * off_diagonal / count * ranks

    def _reset_counters(self) -> None:
        # targets, top-10 hits, real tokens, padded tokens since the last log
        self._counters = torch.zeros(4, dtype=torch.long, device=self.args.device)
        self._off_diagonal = torch.zeros((), device=self.args.device)
        self._counting_since = time.perf_counter()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            targets, top10, real, padded = self.accelerator.reduce(self._counters, "sum").tolist()
            seconds = time.perf_counter() - self._counting_since
            logs |= {
                "top10_accuracy": top10 / max(targets, 1),
                "tokens_per_second": real / seconds,
                "padding_share": 1 - real / max(padded, 1),
                "skipped_steps": self.num_skipped_steps,
            }
            if self.args.guided_attention_weight:
                logs["attention_off_diagonal"] = self.accelerator.reduce(self._off_diagonal, "sum").item() / max(
                    targets, 1
                )
            self._reset_counters()
        super().log(logs, start_time)

    def _get_grad_norm(self, model, grad_norm=None):
        """Skips steps with NaN or infinite gradients here, because all ranks have the same gradient norm."""
        grad_norm = super()._get_grad_norm(model, grad_norm)
        if not math.isfinite(float(grad_norm)) and self.accelerator.scaler is None:
            self.num_skipped_steps += 1
            logger.warning("step %d skipped: the gradient norm is %s.", self.state.global_step + 1, float(grad_norm))
            if self.num_skipped_steps >= self.args.max_skipped_steps:
                raise RuntimeError(
                    f"{self.num_skipped_steps} steps had NaN or infinite gradients (`max_skipped_steps`); lower "
                    "`learning_rate`, or check the data. The last checkpoint is unaffected."
                )
            model.zero_grad(set_to_none=True)  # optimizers skip parameters without a gradient
        return grad_norm

    def _save(self, output_dir: str | None = None, state_dict=None) -> None:
        """Also saves the processor, without codec; a `processing_class` would write text token ids into the configs."""
        super()._save(output_dir, state_dict)
        # this unused pickle contains `hub_token`, which an upload would publish
        Path(output_dir or self.args.output_dir, TRAINING_ARGS_NAME).unlink(missing_ok=True)
        if self.processor is not None:
            self.processor.save_pretrained(output_dir or self.args.output_dir, save_codec=False)

    def create_model_card(self, license: str | None = None, model_name: str | None = None) -> None:
        """
        Writes the model card of the saved model, `README.md` in `output_dir`.

        Args:
            license (`str`, *optional*): Hub identifier (default: `args.license`).
            model_name (`str`, *optional*): name of the model (default: name of the folder or repository).
        """
        if self.is_world_process_zero():
            folder = Path(self.args.output_dir)
            name = self.hub_model_id if self.args.push_to_hub else model_name
            build_card(folder, name, license or self.args.license).save(folder / "README.md")

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """
        Trains like transformers' Trainer, but verifies the checkpoint to resume from before it starts.

        Raises:
            FileNotFoundError: if the checkpoint is incomplete.
            ValueError: if it is damaged, or belongs to another model or optimizer.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = get_last_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise FileNotFoundError(f"{self.args.output_dir!r} has no checkpoint to resume from.")
        if resume_from_checkpoint and not (
            self.is_fsdp_enabled or self.is_deepspeed_enabled
        ):  # FSDP and DeepSpeed checkpoints have other files
            check_resumable(resume_from_checkpoint, self.args.process_index, self.args.world_size)
        return super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        with explain_load_errors(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint) -> None:
        with explain_load_errors(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint) -> None:
        with explain_load_errors(checkpoint):
            super()._load_rng_state(checkpoint)

    def _issue_warnings_after_load(self, load_result) -> None:
        """Raises a ValueError for missing or unexpected weights, where transformers only warns."""
        if names := [*load_result.missing_keys, *load_result.unexpected_keys]:
            raise ValueError(f"{len(names)} weights are missing or left over, such as {names[0]}")

    def _save_checkpoint(self, model, trial) -> None:
        """
        Saves a checkpoint atomically: writes it to a temporary folder, then renames it.

        Raises:
            OSError: if it cannot be written; earlier checkpoints are unchanged.
        """
        folder = Path(self._get_output_dir(trial))
        unfinished = folder / UNFINISHED_FOLDER
        name = f"checkpoint-{self.state.global_step}"
        if self.args.should_save and unfinished.exists():
            shutil.rmtree(unfinished)
        self.accelerator.wait_for_everyone()
        self._get_output_dir = lambda trial=None: str(unfinished)
        try:
            with explain_save_errors(folder, name, unfinished):
                super()._save_checkpoint(model, trial)
        finally:
            del self._get_output_dir
        self._finish_current_push()  # an upload may still read the folder
        self.accelerator.wait_for_everyone()
        if self.state.best_model_checkpoint == str(unfinished / name):
            self.state.best_model_checkpoint = str(folder / name)
        if self.args.should_save:
            self.state.save_to_json(str(unfinished / name / "trainer_state.json"))
            if (folder / name).exists():
                shutil.rmtree(folder / name)
            (unfinished / name).rename(folder / name)
            unfinished.rmdir()
            rotate_checkpoints(
                str(folder), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=False
            )
        self.accelerator.wait_for_everyone()


__all__ = ["T5GemmaTTSTrainer"]
