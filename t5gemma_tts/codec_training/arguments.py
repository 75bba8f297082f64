"""Options of codec training, each with its help text: command line, YAML recipe and Python share them."""

from dataclasses import dataclass, field

from .losses import RESOLUTIONS


ADVERSARIAL_LOSSES = ("least_squares", "hinge")


def option(default, help: str, **metadata):
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help, **metadata})
    return field(default=default, metadata={"help": help, **metadata})


def require_positive(arguments, *names: str) -> None:
    for name in names:
        if getattr(arguments, name) <= 0:
            raise ValueError(f"`{name}` must be above 0, got {getattr(arguments, name)}.")


@dataclass
class CodecModelArguments:
    """What is trained: a checkpoint, or a new model. Sizes that are not given are those of the published XCodec2."""

    model: str | None = option(None, "Codec to go on from: Hub name or folder, any layout that XCodec2 loads.")
    freeze_encoder: bool = option(
        False, "Train `acoustic_decoder` alone: encoders and codebook stay, so that codes keep their meaning."
    )
    freeze_decoder: bool = option(
        False,
        "Train the encoder alone, to choose codes better: what each code sounds like stays, so that a speech model of "
        "these codes needs no training.",
    )
    freeze_waveform_encoder: bool = option(
        False,
        "Leave the encoder of the waveform as it is, which saves 40 percent of a small model's step: for those whose "
        "encoder of mel features can tell all that matters, and even new ones, where it stays a random view of it.",
    )
    hidden_size: int | None = option(None, "New model: width of the decoder, a multiple of 32.")
    intermediate_size: int | None = option(None, "New model: width of the decoder's MLPs.")
    num_hidden_layers: int | None = option(None, "New model: layers of the decoder.")
    num_attention_heads: int | None = option(None, "New model: attention heads of the decoder.")
    quantization_levels: list[int] = option([], "New model: levels of each dimension; their product is the codebook.")
    encoder_hidden_size: int | None = option(None, "New model: channels of the waveform encoder's first stage.")
    downsampling_ratios: list[int] = option(
        [], "New model: strides of the waveform encoder; product 320. Large ones first are cheap."
    )
    semantic_hidden_size: int | None = option(None, "New model: width of the encoder of mel features.")
    semantic_intermediate_size: int | None = option(None, "New model: width of its feed-forward layers.")
    semantic_num_hidden_layers: int | None = option(None, "New model: its layers.")
    semantic_num_attention_heads: int | None = option(None, "New model: its attention heads.")
    semantic_conv_kernel_size: int | None = option(None, "New model: frames that its convolutions see, odd.")

    def __post_init__(self):
        given = [name for name in NEW_MODEL_OPTIONS if getattr(self, name) not in (None, [])]
        if self.model is None and self.hidden_size is None:
            raise ValueError(
                "give either `model`, a codec to go on from, or `hidden_size` and other sizes of a new one."
            )
        if self.model is not None and given:
            raise ValueError(
                f"{', '.join(f'`{name}`' for name in given)} cannot be used with `model`, which has sizes."
            )
        if self.freeze_encoder and self.model is None:
            raise ValueError("`freeze_encoder` needs `model`: the encoder of a new model knows nothing yet.")
        if self.freeze_decoder and (self.freeze_encoder or self.model is None):
            raise ValueError("`freeze_decoder` needs `model`, and something to train: not `freeze_encoder` as well.")


NEW_MODEL_OPTIONS = tuple(
    name for name in CodecModelArguments.__dataclass_fields__ if name != "model" and not name.startswith("freeze_")
)


@dataclass
class CodecDataArguments:
    """What it is trained on."""

    data: list[str] = option(
        [], "Recordings: folders (metadata.csv, metadata.jsonl, or audio with .txt) or datasets; any sampling rate."
    )
    validation_data: list[str] = option([], "Recordings to evaluate on, whatever their split, beside rows of `data`.")
    validation_split: str = option("validation", "Rows of `data` with this split are evaluated on, never trained on.")
    validation_count: int = option(
        0, "Without those: number of rows of `data` to hold out, chosen by a hash of their ids."
    )
    max_clips_per_speaker: int | None = option(
        None, "Train on the first so many clips of each speaker only; a codec needs fewer than speech synthesis."
    )
    cache_dir: str | None = option(
        None, "Where waveforms and features are cached; `cache` in the output folder if not given."
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
    """How it is trained."""

    output_dir: str = option("", "Folder of the trained codec, its checkpoints and logs.")
    resume: bool = option(False, "Go on from the last checkpoint in `output_dir`, if there is one.")
    seed: int = option(0, "Seed of weights and batches.")
    max_steps: int = option(10000, "Optimiser steps.")
    frames_per_batch: int = option(512, "Codes (20 ms each) of one batch on one process.")
    segment_frames: list[int] = option(
        [32, 64, 128, 256], "Lengths of the segments that a batch is made of; one is drawn for each batch."
    )
    whole_clips: bool = option(
        False,
        "Batches of whole clips of one length instead, as speech is decoded in use; always so with `text_weight`. "
        "Clips shorter than the shortest of `segment_frames` are left out.",
    )
    learning_rate: float = option(1e-3, "Peak learning rate of AdamW.")
    final_learning_rate_ratio: float = option(0.03, "What the cosine ends at, as a share of the peak.")
    warmup_steps: int = option(100, "Steps of linear warm-up.")
    adam_betas: list[float] = option([0.8, 0.95], "Decay rates of AdamW's two averages.")
    weight_decay: float = option(1e-3, "Weight decay of AdamW.")
    max_grad_norm: float = option(1.0, "Gradients are scaled down to this norm.")
    max_skipped_steps: int = option(20, "Training stops after this many steps with NaN or infinite gradients.")
    ema_decay: float = option(0.999, "Decay of the average of the weights, which is what is saved; 0 saves the last.")
    mixed_precision: str = option(
        "no",
        "Decoder, discriminators, encoder of mel features in bfloat16; waveform encoder and rounding to codes never.",
        choices=("no", "bf16"),
    )
    use_cpu: bool = option(False, "Train on the CPU even if there is an accelerator.")

    resolutions: list[int] = option(list(RESOLUTIONS), "Window lengths of the spectral losses at the output rate.")
    mel_weight: float = option(1.0, "Weight of the L1 distance of log mel spectrograms.")
    stft_weight: float = option(0.5, "Weight of the spectral convergence of STFT magnitudes.")
    spread_weight: float = option(
        0.0, "Weight of what keeps all codes in use; 0.1 for a new model, which soon uses few without."
    )
    text_weight: float = option(
        0.0,
        "Weight of reading the text back from the codes (CTC, nats per token); needs `text_tokenizer`, clips with "
        "texts, and trains on whole clips instead of `segment_frames`.",
    )
    text_tokenizer: str | None = option(None, "Tokenizer of that text: Hub name or folder; small vocabularies suit.")
    text_only_steps: int = option(
        0,
        "First steps, in which only the encoder of mel features learns, and only to tell the text, without codes and "
        "sound: many in little time. For new models; published ones begin with an encoder that knows speech.",
    )
    listening_weight: float = option(
        0.0,
        "Weight of the distance between what the codec's own encoder of mel features hears in the sound and in the "
        "recording; as it was at the start, which must be that of a `model`.",
    )
    log_floor: float = option(1e-4, "Added to mel magnitudes before the logarithm: what is softer hardly counts.")

    discriminator_start_step: int | None = option(
        None, "Step at which discriminators begin to train and to judge; never if not given."
    )
    discriminator_warmup_steps: int = option(
        100, "Steps from then on in which they train without being listened to yet."
    )
    discriminator_periods: list[int] = option([2, 3, 5, 7, 11], "Periods of the multi-period discriminators.")
    discriminator_windows: list[int] = option([512, 1024, 2048], "Window lengths of the STFT discriminators.")
    discriminator_channels: int = option(16, "Channels of their first layers.")
    discriminator_segment_frames: int | None = option(
        None, "They hear a part of this many frames of each segment; the whole segment if not given."
    )
    discriminator_learning_rate: float = option(2e-4, "Peak learning rate of their AdamW.")
    adversarial_loss: str = option("least_squares", "least_squares or hinge.", choices=ADVERSARIAL_LOSSES)
    adversarial_weight: float = option(0.1, "Weight of their verdict.")
    feature_matching_weight: float = option(0.2, "Weight of the distance of their hidden layers.")

    logging_steps: int = option(50, "Steps between lines of losses.jsonl.")
    eval_steps: int = option(500, "Steps between evaluations; 0 is never.")
    eval_clips: int = option(32, "Clips of an evaluation.")
    eval_audio_clips: int = option(4, "Of those, clips whose sound goes to the trackers.")
    save_steps: int = option(500, "Steps between checkpoints.")
    save_total_limit: int = option(2, "Checkpoints to keep.")
    report_to: list[str] = option([], "Trackers of accelerate: tensorboard, wandb, ...")

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
                "`text_weight` above 0 and `text_tokenizer` go together, got "
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
