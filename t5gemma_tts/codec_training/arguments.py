"""Arguments of codec training with help texts, shared by the command line, YAML recipes and Python."""

from dataclasses import dataclass, field

from .losses import RESOLUTIONS


ADVERSARIAL_LOSSES = ("least_squares", "hinge")


def option(default, help: str, **metadata):
    """Returns a dataclass field with a help text for `HfArgumentParser`."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help, **metadata})
    return field(default=default, metadata={"help": help, **metadata})


def require_positive(arguments, *names: str) -> None:
    """Raises a ValueError if one of the named options is not above 0."""
    for name in names:
        if getattr(arguments, name) <= 0:
            raise ValueError(f"`{name}` must be above 0, got {getattr(arguments, name)}.")


@dataclass
class CodecModelArguments:
    """Codec to train: a checkpoint or a new model. Sizes default to those of the published XCodec2."""

    model: str | None = option(None, "Codec to fine-tune: Hub name or folder, in any layout that XCodec2 loads.")
    freeze_encoder: bool = option(
        False, "Train only `acoustic_decoder`: encoders and codebook are frozen, so that codes keep their meaning."
    )
    freeze_decoder: bool = option(
        False,
        "Train only the encoder, to choose better codes: each code still decodes to the same sound, so that speech "
        "models trained on these codes need no retraining.",
    )
    freeze_waveform_encoder: bool = option(
        False,
        "Freeze the waveform encoder, which saves 40 percent of the step time of a small model. Works if the mel "
        "encoder captures the relevant information, even for new models, whose waveform encoder then stays random.",
    )
    hidden_size: int | None = option(None, "New model: width of the decoder, a multiple of 32.")
    intermediate_size: int | None = option(None, "New model: width of the decoder's MLPs.")
    num_hidden_layers: int | None = option(None, "New model: layers of the decoder.")
    num_attention_heads: int | None = option(None, "New model: attention heads of the decoder.")
    quantization_levels: list[int] = option(
        [], "New model: quantization levels per dimension; their product is the codebook size."
    )
    encoder_hidden_size: int | None = option(None, "New model: channels of the first stage of the waveform encoder.")
    downsampling_ratios: list[int] = option(
        [], "New model: strides of the waveform encoder, with product 320. Large strides first are cheaper."
    )
    semantic_hidden_size: int | None = option(None, "New model: width of the mel encoder.")
    semantic_intermediate_size: int | None = option(
        None, "New model: width of the feed-forward layers of the mel encoder."
    )
    semantic_num_hidden_layers: int | None = option(None, "New model: layers of the mel encoder.")
    semantic_num_attention_heads: int | None = option(None, "New model: attention heads of the mel encoder.")
    semantic_conv_kernel_size: int | None = option(
        None, "New model: convolution kernel size of the mel encoder in frames, odd."
    )

    def __post_init__(self):
        given = [name for name in NEW_MODEL_OPTIONS if getattr(self, name) not in (None, [])]
        if self.model is None and self.hidden_size is None:
            raise ValueError(
                "set either `model`, a codec to fine-tune, or `hidden_size` and other sizes of a new model."
            )
        if self.model is not None and given:
            raise ValueError(
                f"{', '.join(f'`{name}`' for name in given)} cannot be used with `model`, which defines all sizes."
            )
        if self.freeze_encoder and self.model is None:
            raise ValueError("`freeze_encoder` needs `model`: the encoder of a new model is untrained.")
        if self.freeze_decoder and (self.freeze_encoder or self.model is None):
            raise ValueError(
                "`freeze_decoder` needs `model` and cannot be combined with `freeze_encoder`: nothing would be trained."
            )


NEW_MODEL_OPTIONS = tuple(
    name for name in CodecModelArguments.__dataclass_fields__ if name != "model" and not name.startswith("freeze_")
)


@dataclass
class CodecDataArguments:
    """Recordings to train and validate on."""

    data: list[str] = option(
        [], "Recordings: folders (metadata.csv, metadata.jsonl, or audio with .txt) or datasets; any sampling rate."
    )
    validation_data: list[str] = option([], "Additional recordings to evaluate on, regardless of their split.")
    validation_split: str = option("validation", "Split of `data` to evaluate on; its rows are not used for training.")
    validation_count: int = option(
        0, "If there are no validation rows: number of rows of `data` to hold out, chosen by a hash of their ids."
    )
    max_clips_per_speaker: int | None = option(
        None, "Use at most this many training clips per speaker; a codec needs fewer clips than a speech model."
    )
    cache_dir: str | None = option(
        None, "Folder for cached waveforms and features (default: `cache` in the output folder)."
    )

    def __post_init__(self):
        if not self.data:
            raise ValueError("`data` must name at least one folder or dataset of recordings.")
        if self.validation_split == "train":
            raise ValueError("`validation_split` cannot be 'train'.")
        if self.validation_count < 0:
            raise ValueError(f"`validation_count` must be at least 0, got {self.validation_count}.")
        if self.max_clips_per_speaker is not None and self.max_clips_per_speaker < 1:
            raise ValueError(f"`max_clips_per_speaker` must be at least 1, got {self.max_clips_per_speaker}.")


@dataclass
class CodecTrainingArguments:
    """Training hyperparameters, losses, logging and checkpoints."""

    output_dir: str = option("", "Folder for the trained codec, checkpoints and logs.")
    resume: bool = option(False, "Resume from the last checkpoint in `output_dir`, if there is one.")
    seed: int = option(0, "Seed for weights and batches.")
    max_steps: int = option(10000, "Number of optimizer steps.")
    frames_per_batch: int = option(512, "Batch size per process in codes (20 ms each).")
    segment_frames: list[int] = option([32, 64, 128, 256], "Segment lengths in frames; one is drawn per batch.")
    whole_clips: bool = option(
        False,
        "Use batches of whole clips of equal length instead of segments, as at inference; implied by `text_weight`. "
        "Clips shorter than the shortest of `segment_frames` are skipped.",
    )
    learning_rate: float = option(1e-3, "Peak learning rate of AdamW.")
    final_learning_rate_ratio: float = option(
        0.03, "Final learning rate of the cosine schedule, as a fraction of the peak."
    )
    warmup_steps: int = option(100, "Steps of linear warmup.")
    adam_betas: list[float] = option([0.8, 0.95], "Beta coefficients of AdamW.")
    weight_decay: float = option(1e-3, "Weight decay of AdamW.")
    max_grad_norm: float = option(1.0, "Maximum gradient norm for clipping.")
    max_skipped_steps: int = option(
        20, "Stop training after skipping this many steps because of NaN or infinite gradients."
    )
    ema_decay: float = option(
        0.999, "Decay of the moving average of the weights, which is saved; 0 saves the last weights."
    )
    mixed_precision: str = option(
        "no",
        "bf16 runs decoder, discriminators and mel encoder in bfloat16, waveform encoder and quantizer in float32.",
        choices=("no", "bf16"),
    )
    use_cpu: bool = option(False, "Train on the CPU even if an accelerator is available.")

    resolutions: list[int] = option(
        list(RESOLUTIONS), "Window lengths of the spectral losses, in samples at the output rate."
    )
    mel_weight: float = option(1.0, "Weight of the L1 distance between log mel spectrograms.")
    stft_weight: float = option(0.5, "Weight of the spectral convergence of STFT magnitudes.")
    spread_weight: float = option(
        0.0, "Weight of the codebook spread loss; use 0.1 for a new model, which otherwise uses few codes."
    )
    text_weight: float = option(
        0.0,
        "Weight of the CTC loss of the text given the codes, in nats per token. Needs `text_tokenizer` and clips with "
        "texts; trains on whole clips.",
    )
    text_tokenizer: str | None = option(
        None, "Tokenizer for the CTC loss: Hub name or folder; small vocabularies work best."
    )
    text_only_steps: int = option(
        0,
        "Number of initial steps that train only the mel encoder with the CTC loss, without quantization and decoding; "
        "these steps are fast. For new models; published codecs have a pretrained encoder.",
    )
    listening_weight: float = option(
        0.0,
        "Weight of the feature loss: distance between output and recording in the hidden states of the codec's own mel "
        "encoder, frozen at its initial weights. Needs `model`.",
    )
    log_floor: float = option(
        1e-4, "Added to mel magnitudes before the logarithm; softer sounds have little effect on the loss."
    )

    discriminator_start_step: int | None = option(None, "Step at which adversarial training starts (default: never).")
    discriminator_warmup_steps: int = option(
        100, "Steps that train the discriminators before the codec gets adversarial losses."
    )
    discriminator_periods: list[int] = option([2, 3, 5, 7, 11], "Periods of the multi-period discriminators.")
    discriminator_windows: list[int] = option([512, 1024, 2048], "Window lengths of the STFT discriminators.")
    discriminator_channels: int = option(16, "Channels of the first layer of each discriminator.")
    discriminator_segment_frames: int | None = option(
        None, "Length in frames of the crop that discriminators get (default: the whole segment)."
    )
    discriminator_learning_rate: float = option(2e-4, "Peak learning rate of the discriminators.")
    adversarial_loss: str = option(
        "least_squares", "Type of the adversarial loss: least_squares or hinge.", choices=ADVERSARIAL_LOSSES
    )
    adversarial_weight: float = option(0.1, "Weight of the adversarial loss.")
    feature_matching_weight: float = option(0.2, "Weight of the feature matching loss.")

    logging_steps: int = option(50, "Steps between lines of losses.jsonl.")
    eval_steps: int = option(500, "Steps between evaluations; 0 disables them.")
    eval_clips: int = option(32, "Number of clips to evaluate on.")
    eval_audio_clips: int = option(4, "Number of clips whose audio is logged to the trackers.")
    save_steps: int = option(500, "Steps between checkpoints.")
    save_total_limit: int = option(2, "Maximum number of checkpoints to keep.")
    report_to: list[str] = option([], "Trackers that accelerate supports: tensorboard, wandb, ...")

    def __post_init__(self):
        if not self.output_dir:
            raise ValueError("`output_dir` must name the folder of the trained codec.")
        require_positive(self, "max_steps", "frames_per_batch", "learning_rate", "max_grad_norm", "log_floor")
        require_positive(self, "logging_steps", "save_steps", "save_total_limit", "max_skipped_steps")
        require_positive(self, "discriminator_channels", "discriminator_learning_rate")
        if not self.segment_frames or not all(0 < n <= self.frames_per_batch for n in self.segment_frames):
            raise ValueError(
                f"`segment_frames` must be from 1 to `frames_per_batch` ({self.frames_per_batch}), got "
                f"{self.segment_frames}."
            )
        if self.text_weight < 0 or (self.text_weight > 0) != (self.text_tokenizer is not None):
            raise ValueError(
                "set both or neither of `text_weight` (above 0) and `text_tokenizer`, got "
                f"{self.text_weight} and {self.text_tokenizer!r}."
            )
        if self.listening_weight < 0:
            raise ValueError(f"`listening_weight` must be at least 0, got {self.listening_weight}.")
        if not 0 <= self.text_only_steps < self.max_steps or (self.text_only_steps and not self.text_weight):
            raise ValueError(
                f"`text_only_steps` must be from 0 to below `max_steps` ({self.max_steps}), and needs `text_weight`; "
                f"got {self.text_only_steps}."
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must be in [0, 1), got {self.ema_decay}.")
        if len(self.adam_betas) != 2 or not all(0 <= beta < 1 for beta in self.adam_betas):
            raise ValueError(f"`adam_betas` must be two numbers in [0, 1), got {self.adam_betas}.")
        for name, choices in (("adversarial_loss", ADVERSARIAL_LOSSES), ("mixed_precision", ("no", "bf16"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {getattr(self, name)!r}.")
        for name in ("eval_steps", "eval_clips", "eval_audio_clips", "warmup_steps", "discriminator_warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be at least 0, got {getattr(self, name)}.")


__all__ = ["CodecDataArguments", "CodecModelArguments", "CodecTrainingArguments"]
