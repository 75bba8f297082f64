"""Options of training, each with its help text: command line, YAML recipe and Python share them."""

from dataclasses import dataclass, field

from transformers import Seq2SeqTrainingArguments

from .prompts import PromptOptions


SCALED_ADAM = "scaled_adam"


@dataclass
class T5GemmaTTSTrainingArguments(Seq2SeqTrainingArguments):
    """
    `Seq2SeqTrainingArguments` for speech: batches by token budget, the original's optimiser, evaluation by ear.

    `per_device_train_batch_size` has no effect: batches are as large as `max_tokens_per_batch` allows.
    """

    max_tokens_per_batch: int = field(
        default=8000, metadata={"help": "Text and audio tokens of one batch on one device, padding included."}
    )
    batch_group_size: int | None = field(
        default=None,
        metadata={
            "help": "Batches of similar length that stand together; the number of processes by default. A run on 8 "
            "processes is repeated on one with 8 here and in gradient_accumulation_steps."
        },
    )
    optim: str = field(
        default=Seq2SeqTrainingArguments.default_optim,
        metadata={
            "help": f"Optimiser: any of transformers', or '{SCALED_ADAM}', the original's, with its Eden schedule."
        },
    )
    selective_checkpointing: bool | None = field(
        default=None,
        metadata={
            "help": "Keep only products and attention of the forward pass and compute the cheap rest again: about half "
            "of the activations' memory. On by default, unless activation_checkpointing saves more."
        },
    )
    eden_batches: float = field(
        default=5000, metadata={"help": "Eden: steps from which the rate falls with their root."}
    )
    eden_epochs: float = field(
        default=6, metadata={"help": "Eden: pseudo epochs from which the rate falls with their root."}
    )
    eden_pseudo_epoch_steps: int = field(default=5000, metadata={"help": "Eden: optimiser steps in a pseudo epoch."})
    clipping_update_period: int = field(
        default=1000, metadata={"help": "scaled_adam: steps between updates of the gradient clipping threshold."}
    )
    max_skipped_steps: int = field(
        default=20,
        metadata={"help": "Training stops after this many steps were skipped for NaN or infinite gradients."},
    )
    eval_sentences: list[str] = field(
        default_factory=list, metadata={"help": "Texts that every evaluation speaks, as audio in the logs."}
    )
    eval_asr: str | None = field(
        default=None,
        metadata={"help": "Speech recognition model that reads them back, for word and character error rates."},
    )
    eval_seed: int = field(
        default=0, metadata={"help": "Seed of the evaluation's sampling; training's is not touched."}
    )
    eval_conditioning: bool = field(
        default=True,
        metadata={
            "help": "Evaluation also measures whether the text matters: eval_text_gap is what other rows' texts add to "
            "the loss, eval_attention_offset how far the best head of cross-attention is from the diagonal, with a "
            "picture of all heads."
        },
    )
    audio_mask_probability: float = field(
        default=0.0,
        metadata={
            "help": "Share of the decoder's input codes that training hides behind a token which never occurs, so that "
            "the past cannot stand in for the text."
        },
    )
    audio_mask_row_probability: float = field(
        default=0.0,
        metadata={
            "help": "Share of rows that hide codes at a rate of their own instead, drawn evenly from 0 to 1; for small "
            "models from scratch."
        },
    )
    guided_attention_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the loss that keeps half of the cross-attention heads near the diagonal, in nats per "
            "target token; for small models from scratch. Needs attn_implementation eager."
        },
    )
    guided_attention_width: float = field(
        default=0.2, metadata={"help": "Distance from the diagonal that costs little, in parts of the utterance."}
    )
    guided_attention_tokens: float | None = field(
        default=None,
        metadata={
            "help": "For datasets that say which text token each code speaks (align_dataset.py): distance from it that "
            "costs little, in tokens; in place of the diagonal and its width."
        },
    )
    early_stopping_patience: int = field(
        default=0,
        metadata={"help": "Stop after this many evaluations without a better metric_for_best_model; 0 is never."},
    )
    license: str | None = field(
        default=None, metadata={"help": "Licence of the trained weights for the model card, e.g. 'apache-2.0'."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Always false: the collator knows the columns."}
    )

    def __post_init__(self):
        wanted = self.optim
        if wanted == SCALED_ADAM:
            self.optim = "adamw_torch"  # a name that transformers accepts while it checks the rest
        super().__post_init__()
        if wanted == SCALED_ADAM:
            self.optim = SCALED_ADAM
            self.max_grad_norm = 0.0  # it clips by itself
        if self.selective_checkpointing and self.activation_checkpointing:
            raise ValueError("`selective_checkpointing` and `activation_checkpointing` exclude each other.")
        if self.selective_checkpointing is None:
            self.selective_checkpointing = not self.activation_checkpointing
        if self.remove_unused_columns:
            raise ValueError("`remove_unused_columns` must be false: the model's columns are made by the collator.")
        for name in ("max_tokens_per_batch", "max_skipped_steps", "eden_pseudo_epoch_steps", "clipping_update_period"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.batch_group_size is None:
            self.batch_group_size = self.world_size
        if self.batch_group_size < 1 or self.batch_group_size % self.world_size:
            raise ValueError(
                f"`batch_group_size` must be a multiple of {self.world_size} (processes), got {self.batch_group_size}."
            )
        if not 0 <= self.audio_mask_probability < 1:
            raise ValueError(f"`audio_mask_probability` must be in [0, 1), got {self.audio_mask_probability}.")
        if not 0 <= self.audio_mask_row_probability <= 1:
            raise ValueError(f"`audio_mask_row_probability` must be in [0, 1], got {self.audio_mask_row_probability}.")
        if self.guided_attention_weight < 0 or self.guided_attention_width <= 0:
            raise ValueError(
                "`guided_attention_weight` must be at least 0 and `guided_attention_width` above 0, got "
                f"{self.guided_attention_weight} and {self.guided_attention_width}."
            )
        if self.guided_attention_tokens is not None and not (
            self.guided_attention_tokens > 0 and self.guided_attention_weight
        ):
            raise ValueError(
                "`guided_attention_tokens` must be above 0 and needs `guided_attention_weight`, got "
                f"{self.guided_attention_tokens} and {self.guided_attention_weight}."
            )
        if self.early_stopping_patience < 0:
            raise ValueError(f"`early_stopping_patience` must be at least 0, got {self.early_stopping_patience}.")
        if self.early_stopping_patience and not self.load_best_model_at_end:
            raise ValueError(
                "`early_stopping_patience` needs `load_best_model_at_end`, which keeps the best checkpoint."
            )


@dataclass
class ModelArguments:
    """What is trained."""

    model: str | None = field(default=None, metadata={"help": "Checkpoint to go on from: Hub name or folder."})
    backbone: str | None = field(default=None, metadata={"help": "Text T5Gemma to start from instead."})
    tokenizer: str | None = field(
        default=None, metadata={"help": "Tokenizer; the checkpoint's or backbone's if not given."}
    )
    codec: str | None = field(default=None, metadata={"help": "Codec of the data; the checkpoint's if not given."})
    codebook_size: int = field(default=65536, metadata={"help": "With backbone: number of codec entries."})
    text_separator_token: str | None = field(
        default=None,
        metadata={"help": "With backbone: token between reference and target text; Gemma's own if not given."},
    )
    model_dtype: str = field(default="float32", metadata={"help": "dtype of the weights: float32, bfloat16, float16."})
    attn_implementation: str | None = field(
        default=None, metadata={"help": "eager, sdpa, flash_attention_2 or flex_attention."}
    )
    eos_loss_weight: float = field(default=1.0, metadata={"help": "Weight of the end token in the loss."})
    freeze_backbone: bool = field(default=False, metadata={"help": "Train audio embedding and head only."})
    lora_rank: int = field(default=0, metadata={"help": "LoRA rank; 0 trains all weights."})
    lora_alpha: int = field(default=16, metadata={"help": "LoRA scaling: alpha / rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout on the adapters' input."})
    lora_target_modules: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        metadata={"help": "Layers with adapters; the original's by default."},
    )
    lora_modules_to_save: list[str] = field(
        default_factory=list, metadata={"help": "Modules to train whole beside the adapters, such as audio_head."}
    )
    use_dora: bool = field(default=False, metadata={"help": "DoRA instead of LoRA."})
    quantize: str | None = field(
        default=None,
        metadata={"help": "Load the frozen weights in '8bit' or '4bit' (QLoRA; needs bitsandbytes and CUDA)."},
    )

    def __post_init__(self):
        if (self.model is None) == (self.backbone is None):
            raise ValueError(
                "give either `model`, a checkpoint to go on from, or `backbone`, a text T5Gemma to start from."
            )
        if self.quantize not in (None, "8bit", "4bit"):
            raise ValueError(f"`quantize` must be '8bit' or '4bit', got {self.quantize!r}.")
        if self.quantize and not self.lora_rank:
            raise ValueError("`quantize` freezes the weights, so `lora_rank` must be above 0.")
        if self.use_dora and not self.lora_rank:
            raise ValueError("`use_dora` needs `lora_rank` above 0.")
        if self.freeze_backbone and self.lora_rank:
            raise ValueError("`freeze_backbone` and `lora_rank` exclude each other; see `lora_modules_to_save`.")


@dataclass
class DataArguments(PromptOptions):
    """What it is trained on."""

    datasets: list[str] = field(default_factory=list, metadata={"help": "Prepared datasets: folders or Hub names."})
    dataset_weights: list[float] = field(
        default_factory=list, metadata={"help": "How often each dataset's rows are seen per epoch; 1 each by default."}
    )
    stretched: bool = field(
        default=True, metadata={"help": "Train on the speed variants that datasets hold, each as a row of its own."}
    )
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    eval_split: str = field(default="validation", metadata={"help": "Split to evaluate on."})

    def __post_init__(self):
        super().__post_init__()
        if not self.datasets:
            raise ValueError("`datasets` must name at least one prepared dataset.")
        if self.dataset_weights and len(self.dataset_weights) != len(self.datasets):
            raise ValueError(
                f"`dataset_weights` must have one entry per dataset ({len(self.datasets)}), got {self.dataset_weights}."
            )


__all__ = ["SCALED_ADAM", "DataArguments", "ModelArguments", "T5GemmaTTSTrainingArguments"]
