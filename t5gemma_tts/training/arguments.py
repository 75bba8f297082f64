"""Training arguments with help texts, shared by the command line, YAML recipes and Python."""

from dataclasses import dataclass, field

import torch
from transformers import Seq2SeqTrainingArguments
from transformers.utils import is_torch_bf16_gpu_available

from .prompts import PromptOptions


SCALED_ADAM = "scaled_adam"


@dataclass
class T5GemmaTTSTrainingArguments(Seq2SeqTrainingArguments):
    """
    `Seq2SeqTrainingArguments` for speech: token-budget batches, ScaledAdam, and evaluation on synthesized sentences.

    `per_device_train_batch_size` has no effect: `max_tokens_per_batch` sets the batch size.
    """

    max_tokens_per_batch: int = field(
        default=8000,
        metadata={"help": "Token budget of a batch per device: text plus audio tokens, including padding."},
    )
    batch_group_size: int | None = field(
        default=None,
        metadata={
            "help": "Number of consecutive batches of similar length (default: the number of processes). To reproduce "
            "a run on 8 processes with one process, set this and gradient_accumulation_steps to 8."
        },
    )
    bf16: bool | None = field(
        default=None,
        metadata={
            "help": "Mixed precision with bfloat16 (default: on a GPU that has it, unless fp16 is set). On processors "
            "with AVX512-BF16 or AMX, true is faster than the default."
        },
    )
    optim: str = field(
        default=Seq2SeqTrainingArguments.default_optim,
        metadata={
            "help": f"Optimizer: any name that transformers accepts, or '{SCALED_ADAM}', the optimizer of the "
            "original project, with its Eden schedule."
        },
    )
    selective_checkpointing: bool | None = field(
        default=None,
        metadata={
            "help": "Save only outputs of matrix products and attention and recompute the rest in the backward pass: "
            "about half the activation memory. On by default unless activation_checkpointing is set."
        },
    )
    eden_batches: float = field(
        default=5000, metadata={"help": "Eden: number of steps after which the learning rate falls as 1 / sqrt(steps)."}
    )
    eden_epochs: float = field(
        default=6,
        metadata={
            "help": "Eden: number of pseudo epochs after which the learning rate falls as 1 / sqrt(pseudo epochs)."
        },
    )
    eden_pseudo_epoch_steps: int = field(default=5000, metadata={"help": "Eden: optimizer steps per pseudo epoch."})
    clipping_update_period: int = field(
        default=1000, metadata={"help": "scaled_adam: steps between updates of the gradient clipping threshold."}
    )
    max_skipped_steps: int = field(
        default=20,
        metadata={"help": "Stop training after skipping this many steps because of NaN or infinite gradients."},
    )
    eval_sentences: list[str] = field(
        default_factory=list, metadata={"help": "Texts to synthesize at every evaluation; the audio is logged."}
    )
    eval_asr: str | None = field(
        default=None,
        metadata={"help": "Speech recognition model that transcribes them, for word and character error rates."},
    )
    eval_seed: int = field(default=0, metadata={"help": "Sampling seed of the evaluation; does not affect training."})
    eval_conditioning: bool = field(
        default=True,
        metadata={
            "help": "Also measure text conditioning: eval_text_gap is the loss increase when texts are swapped between "
            "rows, eval_attention_offset the distance of the best cross-attention head from the diagonal. Saves an "
            "image of all heads."
        },
    )
    audio_mask_probability: float = field(
        default=0.0,
        metadata={
            "help": "Fraction of decoder input codes replaced by a mask token in training, so that the model cannot "
            "predict codes from past codes alone and ignore the text."
        },
    )
    audio_mask_row_probability: float = field(
        default=0.0,
        metadata={
            "help": "Fraction of rows that use their own mask rate instead, drawn uniformly from 0 to 1; for small "
            "models trained from scratch."
        },
    )
    guided_attention_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the guided attention loss, which keeps half of the cross-attention heads near the "
            "diagonal, in nats per target token; for small models trained from scratch. Needs attn_implementation "
            "eager."
        },
    )
    guided_attention_width: float = field(
        default=0.2,
        metadata={"help": "Standard deviation of the guided attention band, as a fraction of the utterance."},
    )
    guided_attention_tokens: float | None = field(
        default=None,
        metadata={
            "help": "Standard deviation of the guided attention band in text tokens, around the alignment of the "
            "dataset (align_dataset.py) instead of the diagonal; replaces guided_attention_width."
        },
    )
    early_stopping_patience: int = field(
        default=0,
        metadata={"help": "Stop after this many evaluations without a better metric_for_best_model; 0 disables it."},
    )
    license: str | None = field(
        default=None, metadata={"help": "License of the trained weights for the model card, e.g. 'apache-2.0'."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must be false: the collator needs all columns."}
    )

    def __post_init__(self):
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if self.bf16 is None:
            self.bf16 = not self.use_cpu and not self.fp16 and is_torch_bf16_gpu_available()
        optim = self.optim
        if optim == SCALED_ADAM:
            self.optim = "adamw_torch"  # the parent class rejects unknown names
        super().__post_init__()
        if optim == SCALED_ADAM:
            self.optim = SCALED_ADAM
            self.max_grad_norm = 0.0  # ScaledAdam clips gradients itself
        if self.selective_checkpointing and self.activation_checkpointing:
            raise ValueError("`selective_checkpointing` and `activation_checkpointing` cannot both be set.")
        if self.selective_checkpointing is None:
            self.selective_checkpointing = not self.activation_checkpointing
        if self.remove_unused_columns:
            raise ValueError("`remove_unused_columns` must be false: the collator needs all columns.")
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
    """Model to train: a checkpoint or a text backbone, precision, adapters and quantization."""

    model: str | None = field(default=None, metadata={"help": "Checkpoint to fine-tune: Hub name or folder."})
    backbone: str | None = field(
        default=None, metadata={"help": "Text T5Gemma to start from instead of a checkpoint: Hub name or folder."}
    )
    tokenizer: str | None = field(
        default=None, metadata={"help": "Tokenizer (default: the one of the checkpoint or backbone)."}
    )
    codec: str | None = field(
        default=None, metadata={"help": "Codec of the datasets (default: the codec of the checkpoint)."}
    )
    codebook_size: int = field(default=65536, metadata={"help": "With backbone: number of codec codes."})
    text_separator_token: str | None = field(
        default=None,
        metadata={"help": "With backbone: token between reference and target text (default: an unused Gemma token)."},
    )
    model_dtype: str = field(
        default="float32", metadata={"help": "dtype of the weights: float32, bfloat16 or float16."}
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "eager, sdpa, flash_attention_2 or flex_attention."}
    )
    eos_loss_weight: float = field(default=1.0, metadata={"help": "Weight of the end-of-speech token in the loss."})
    freeze_backbone: bool = field(
        default=False, metadata={"help": "Train only the audio embedding and the audio head."}
    )
    lora_rank: int = field(default=0, metadata={"help": "LoRA rank; 0 trains all weights."})
    lora_alpha: int = field(default=16, metadata={"help": "LoRA alpha; adapters are scaled by alpha / rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout on the adapter inputs."})
    lora_target_modules: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        metadata={"help": "Layers that get adapters (default: those of the original project)."},
    )
    lora_modules_to_save: list[str] = field(
        default_factory=list, metadata={"help": "Modules to train in full alongside the adapters, such as audio_head."}
    )
    use_dora: bool = field(default=False, metadata={"help": "Use DoRA instead of LoRA."})
    quantize: str | None = field(
        default=None,
        metadata={"help": "Load the frozen weights in '8bit' or '4bit' (QLoRA; needs bitsandbytes and CUDA)."},
    )

    def __post_init__(self):
        if (self.model is None) == (self.backbone is None):
            raise ValueError(
                "set exactly one of `model`, a checkpoint to fine-tune, and `backbone`, a text T5Gemma to start from."
            )
        if self.quantize not in (None, "8bit", "4bit"):
            raise ValueError(f"`quantize` must be '8bit' or '4bit', got {self.quantize!r}.")
        if self.quantize and not self.lora_rank:
            raise ValueError("`quantize` freezes the weights, so `lora_rank` must be above 0.")
        if self.use_dora and not self.lora_rank:
            raise ValueError("`use_dora` needs `lora_rank` above 0.")
        if self.freeze_backbone and self.lora_rank:
            raise ValueError("`freeze_backbone` and `lora_rank` cannot both be set; see `lora_modules_to_save`.")


@dataclass
class DataArguments(PromptOptions):
    """Datasets to train and evaluate on, and how reference prompts are drawn from them."""

    datasets: list[str] = field(default_factory=list, metadata={"help": "Prepared datasets: folders or Hub names."})
    dataset_weights: list[float] = field(
        default_factory=list, metadata={"help": "Repetitions of each dataset per epoch (default: 1 for each)."}
    )
    stretched: bool = field(
        default=True, metadata={"help": "Also train on the speed variants of the datasets, as additional rows."}
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
