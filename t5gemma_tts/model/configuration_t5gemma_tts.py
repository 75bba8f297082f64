"""Configuration of T5Gemma-TTS.

`codebook_size` defines the decoder's vocabulary: the codec's entries, then five special tokens. The text backbone is an
ordinary `T5GemmaConfig`; the vocabulary size and special ids of its decoder are overwritten here, so that they cannot
contradict `codebook_size`.
"""

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, T5GemmaConfig, T5GemmaModuleConfig, Xcodec2Config
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec

from .configuration_checks import check_configuration, explain_config_errors, output_sampling_rate


AUTO_MAP = {
    "AutoConfig": "configuration_t5gemma_tts.T5GemmaTTSConfig",
    "AutoModel": "modeling_t5gemma_tts.T5GemmaTTSForConditionalGeneration",
    "AutoModelForSeq2SeqLM": "modeling_t5gemma_tts.T5GemmaTTSForConditionalGeneration",
    "AutoModelForTextToWaveform": "modeling_t5gemma_tts.T5GemmaTTSForConditionalGeneration",
    "AutoProcessor": "processing_t5gemma_tts.T5GemmaTTSProcessor",
}


MAX_CODEBOOK_SIZE = 2**31


class _CheckedConfig(PreTrainedConfig):
    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """
        As in transformers.

        Raises:
            ValueError, huggingface_hub.errors.StrictDataclassError: for invalid values.
        """
        with explain_config_errors("the configuration"):
            return super().from_dict(config_dict, **kwargs)


class T5GemmaTTSCodecConfig(_CheckedConfig, Xcodec2Config):
    r"""
    `Xcodec2Config` with an optional upsampler before the decoder's head (the 44.1 kHz community variant).

    Without `upsample_factors` this describes the ordinary XCodec2: audio of `sampling_rate` in and out.

    Args:
        output_sampling_rate (`int`, *optional*): Hz of the decoded waveform; `sampling_rate` (of the encoder) if unset.
        upsample_factors (`list[int]`, *optional*): Time upsampling of each transposed convolution, e.g. `[3, 3]`.
        upsample_kernel_sizes (`list[int]`, *optional*): Their kernel sizes, same length.
        decoder_hop_length (`int`, *optional*): Output samples per upsampled frame; `hop_length` if unset.
        acoustic_hidden_size (`int`, *optional*): Width of the acoustic encoder's output; `hidden_size` if unset.
    """

    model_type = "t5gemma_tts_codec"

    upsample_factors: list[int] | tuple[int, ...] = ()
    upsample_kernel_sizes: list[int] | tuple[int, ...] = ()
    if TYPE_CHECKING:  # types after `__post_init__`
        output_sampling_rate: int = 0
        decoder_hop_length: int = 0
        acoustic_hidden_size: int = 0
    else:
        output_sampling_rate: int | None = None
        decoder_hop_length: int | None = None
        acoustic_hidden_size: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        with explain_config_errors("the codec's configuration"):
            super().__post_init__(**kwargs)
            self._fill_defaults()

    def _fill_defaults(self) -> None:
        if self.acoustic_hidden_size is None:
            self.acoustic_hidden_size = self.hidden_size
        if self.output_sampling_rate is None:
            self.output_sampling_rate = self.sampling_rate
        if self.decoder_hop_length is None:
            self.decoder_hop_length = self.hop_length
        if len(self.upsample_factors) != len(self.upsample_kernel_sizes):
            raise ValueError(
                "`upsample_factors` and `upsample_kernel_sizes` must have the same length, got "
                f"{list(self.upsample_factors)} and {list(self.upsample_kernel_sizes)}."
            )
        for factor, kernel_size in zip(self.upsample_factors, self.upsample_kernel_sizes, strict=True):
            if factor < 1 or kernel_size < factor:
                raise ValueError(
                    f"each of `upsample_kernel_sizes` must be at least its factor, got {kernel_size} for {factor}."
                )
        # GroupNorm with 32 groups runs at hidden_size / 2^i channels after stage i
        if self.upsample_factors and self.hidden_size % (32 * 2 ** len(self.upsample_factors)):
            raise ValueError(
                f"`hidden_size` must be a multiple of {32 * 2 ** len(self.upsample_factors)} with "
                f"{len(self.upsample_factors)} upsampling stages, got {self.hidden_size}."
            )


def _derived_token_id(name: str, offset: int, doc: str) -> property:
    """A property for a token id derived from `codebook_size`; setting any other value raises `ValueError`."""

    def get(self: "T5GemmaTTSConfig") -> int:
        return self.codebook_size + offset

    def reject_others(self: "T5GemmaTTSConfig", value: int) -> None:
        if value != get(self):
            raise ValueError(f"`{name}` follows from `codebook_size` and must be {get(self)}, got {value!r}.")

    return property(get, reject_others, doc=doc)


class T5GemmaTTSConfig(_CheckedConfig):
    r"""
    Configuration of [`T5GemmaTTSForConditionalGeneration`].

    Args:
        backbone (`T5GemmaConfig` or `dict`, *optional*):
            The encoder-decoder. Its decoder's `vocab_size` and special ids are set from `codebook_size`.
            `attn_logit_softcapping` is kept as given; published weights expect None (no soft-capping).
        codec_config (`Xcodec2Config`, `T5GemmaTTSCodecConfig` or `dict`, *optional*):
            The codec's architecture, if known; it must agree with `codebook_size`, `frame_rate` and `sampling_rate`.
        codec_name_or_path (`str`, *optional*): Hub name or folder of the codec; None means the checkpoint's `codec/`.
        codebook_size (`int`, *optional*, defaults to 65536): Number of codec entries V; specials are V … V+4.
        frame_rate (`float`, *optional*, defaults to 50.0): Audio tokens per second.
        sampling_rate (`int`, *optional*):
            Hz of the decoded waveform. Defaults to that of `codec_config`, or 16 000 without one.
        use_pm_rope (`bool`, *optional*, defaults to `True`):
            Progress-Monitoring RoPE (positions are progress through the utterance, also in cross-attention). `False`
            gives integer positions and no rotation in cross-attention.
        progress_scale (`float`, *optional*, defaults to 2000.0): Position of the last token of every sequence.
        progress_lookahead_seconds (`float`, *optional*, defaults to 2.0):
            Duration that generation assumes if none is given.
        no_loss_on_prefix (`bool`, *optional*, defaults to `True`): Exclude the reference audio from the loss.
        eos_loss_weight (`float`, *optional*, defaults to 1.0): Class weight of the end token in the loss.
        text_separator_token_id (`int`, *optional*, defaults to 255999): Separates reference text and target text.
        text_bos_token_id, text_eos_token_id (`int`, *optional*): Added before / after the text ids if not None.
        extra_cutoff_seconds (`float`, *optional*, defaults to 5.0): Generation stops this long after the target length.
        text_guard_frames_per_token (`float`, *optional*, defaults to 0.0):
            Generation stops after this many frames per text token; 0 disables the limit.
        max_duration_seconds (`float`, *optional*, defaults to 120.0): Longest target duration a caller may request.
        eos_token_id (`int`, *optional*): The end token; V+3, or V+1 in models trained without a separate end token.
    """

    model_type = "t5gemma_tts"
    sub_configs_defaults = {
        "backbone": SubConfigSpec(T5GemmaConfig),
        "codec_config": SubConfigSpec(AutoConfig, model_type="xcodec2", optional=True),
    }

    backbone: T5GemmaConfig | dict[Any, Any] | None = None
    codec_config: PreTrainedConfig | dict[Any, Any] | None = None
    codec_name_or_path: str | None = None
    codebook_size: int = 65536
    frame_rate: float | int = 50.0
    use_pm_rope: bool = True
    progress_scale: float | int = 2000.0
    progress_lookahead_seconds: float | int = 2.0
    no_loss_on_prefix: bool = True
    eos_loss_weight: float | int = 1.0
    text_separator_token_id: int = 255999
    text_bos_token_id: int | None = None
    text_eos_token_id: int | None = None
    extra_cutoff_seconds: float | int = 5.0
    text_guard_frames_per_token: float | int = 0.0
    max_duration_seconds: float | int = 120.0
    if TYPE_CHECKING:  # types after `__post_init__`
        sampling_rate: int = 0
        eos_token_id: int = 0
    else:
        sampling_rate: int | None = None
        eos_token_id: int | None = None
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if type(self.codebook_size) is not int or self.codebook_size < 2:  # first, because other fields depend on it
            raise ValueError(f"`codebook_size` must be an integer of at least 2, got {self.codebook_size!r}.")
        if self.codebook_size > MAX_CODEBOOK_SIZE:
            raise ValueError(f"`codebook_size` must be at most 2 ** 31, got {self.codebook_size!r:.40}.")
        for name in ("backbone", "codec_config"):
            if not isinstance(value := getattr(self, name), PreTrainedConfig | dict | None):
                raise ValueError(f"`{name}` must be a configuration, a dict or None, got {value!r:.200}.")
        if self.backbone is None:
            self.backbone = T5GemmaConfig(
                encoder=T5GemmaModuleConfig(attn_logit_softcapping=None),
                decoder=T5GemmaModuleConfig(attn_logit_softcapping=None),
            )
        with explain_config_errors("the configuration, its `backbone` or its `codec_config`"):
            super().__post_init__(**kwargs)
            if hasattr(self, "auto_map"):  # a checkpoint with remote code must name this project's classes
                self.auto_map = dict(AUTO_MAP)
            if self.eos_token_id is None:
                self.eos_token_id = self.codebook_size + 3
            if self.sampling_rate is None:
                self.sampling_rate = 16000 if self.codec_config is None else output_sampling_rate(self.codec_config)
            self._fit_backbone_to_audio()
            check_configuration(self)

    def to_dict(self) -> dict[str, Any]:
        """As in transformers, with `auto_map` set, because checkpoints include the code of these classes."""
        return super().to_dict() | {"auto_map": dict(AUTO_MAP)}

    def _fit_backbone_to_audio(self) -> None:
        backbone: Any = self.backbone
        encoder, decoder = self.get_text_config(encoder=True), self.get_text_config(decoder=True)
        backbone.tie_word_embeddings = encoder.tie_word_embeddings = decoder.tie_word_embeddings = False
        backbone.vocab_size = encoder.vocab_size
        decoder.vocab_size = self.vocab_size
        decoder.final_logit_softcapping = None  # the audio head has none
        for module in (backbone, decoder):
            module.bos_token_id, module.eos_token_id, module.pad_token_id = (
                self.bos_token_id,
                self.eos_token_id,
                self.pad_token_id,
            )

    @property
    def vocab_size(self) -> int:
        """Rows of the audio embedding and head: V entries and five specials."""
        return self.codebook_size + 5

    bos_token_id = _derived_token_id("bos_token_id", 0, 'V, "empty": the decoder\'s first token.')
    decoder_start_token_id = _derived_token_id("decoder_start_token_id", 0, "The same as `bos_token_id`.")
    pad_token_id = _derived_token_id("pad_token_id", 2, "V+2.")
    audio_separator_token_id = _derived_token_id(
        "audio_separator_token_id", 4, "V+4: separates reference audio and target audio."
    )

    @property
    def initializer_range(self) -> float:
        return self.get_text_config(decoder=True).initializer_range

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> T5GemmaModuleConfig:
        """The decoder's module config, which `generate` uses for caches and masks, or the encoder's."""
        backbone: Any = self.backbone  # a `T5GemmaConfig` after `__post_init__`
        return backbone.encoder if encoder and not decoder else backbone.decoder

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        As in transformers. Converts a `config.json` of the original project with `from_original`.

        Raises:
            OSError: if there is no `config.json`.
            ValueError: if the checkpoint has another `model_type`.
        """
        with explain_config_errors(f"the config.json of {str(pretrained_model_name_or_path)!r}"):
            config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if not isinstance(config_dict, dict):
            raise ValueError(f"the config.json of {str(pretrained_model_name_or_path)!r} must be a JSON object.")
        if not config_dict:
            raise OSError(f"{str(pretrained_model_name_or_path)!r} is not a checkpoint: it has no config.json.")
        if config_dict.get("model_type") == "t5gemma_voice":
            config_dict = cls.from_original(config_dict).to_dict()
        if (model_type := config_dict.get("model_type", cls.model_type)) != cls.model_type:
            raise ValueError(
                f"{str(pretrained_model_name_or_path)!r} is not a T5Gemma-TTS checkpoint: its `model_type` is "
                f"{model_type!r}."
            )
        return config_dict, kwargs

    @classmethod
    def from_original(
        cls, original: dict[str, Any], backbone: T5GemmaConfig | dict[str, Any] | None = None
    ) -> "T5GemmaTTSConfig":
        """
        Reads a configuration of the original project (`model_type: t5gemma_voice`).

        Args:
            original (`dict`): Its `config.json`, or the arguments stored in a training bundle.
            backbone (`T5GemmaConfig` or `dict`, *optional*): Used when `original` has no `t5_config_dict`.

        Soft-capping is dropped: the original project trained and ran with sdpa, which ignored it.

        Raises:
            ValueError: for an unsupported configuration (several codebooks, tied embeddings, special ids in another
                order, no backbone).
        """
        with explain_config_errors("the original configuration"):
            return cls._from_original(original, backbone)

    @classmethod
    def _from_original(
        cls, original: dict[str, Any], backbone: T5GemmaConfig | dict[str, Any] | None
    ) -> "T5GemmaTTSConfig":
        if (size := original.get("audio_vocab_size")) is None:
            raise ValueError("the original configuration has no `audio_vocab_size`.")
        size = int(size[0] if isinstance(size, list) else size)
        eos = int(original.get("eos", size + 3))
        expected = {
            "n_codebooks": 1,
            "special_first": 0,
            "parallel_pattern": 0,
            "tie_input_output_embeddings": 0,
            "empty_token": size,
            "eog": size + 1,
            "audio_pad_token": size + 2,
            "y_sep_token": size + 4,
            "eos": -1 if eos < 0 else size + 3,
        }
        for name, value in expected.items():
            if (found := original.get(name)) is not None and int(found) != value:
                raise ValueError(f"`{name}` of the original configuration must be {value}, got {found!r}.")
        backbone = original.get("t5_config_dict") or backbone
        if backbone is None:
            raise ValueError(
                "the original configuration has no `t5_config_dict`; pass the T5Gemma backbone's configuration "
                f"(of {original.get('t5gemma_model_name')!r}) as `backbone`."
            )
        if not isinstance(backbone, T5GemmaConfig) and (missing := sorted({"encoder", "decoder"} - set(backbone))):
            raise ValueError(f"the backbone of the original configuration lacks {missing}.")
        optional: dict[str, Any] = {
            "text_eos_token_id": original.get("add_eos_to_text") or None,
            "text_bos_token_id": original.get("add_bos_to_text") or None,
            "codec_name_or_path": original.get("xcodec2_model_name"),
            "sampling_rate": int(original["codec_audio_sr"]) if original.get("codec_audio_sr") else None,
            "dtype": original.get("dtype") or original.get("torch_dtype"),
        }
        renamed = {
            "frame_rate": "encodec_sr",
            "progress_scale": "progress_scale",
            "progress_lookahead_seconds": "progress_lookahead_secs",
            "text_separator_token_id": "x_sep_token",
            "extra_cutoff_seconds": "extra_cutoff",
            "text_guard_frames_per_token": "text_guard_frames_per_token",
        }
        optional.update({ours: original.get(theirs) for ours, theirs in renamed.items()})
        return cls(
            backbone=_backbone_from_original(backbone),
            codebook_size=size,
            eos_token_id=size + 1 if eos < 0 else eos,
            use_pm_rope=bool(original.get("use_pm_rope", 1)),
            no_loss_on_prefix=bool(original.get("no_loss_on_prefix", 1)),
            **{name: value for name, value in optional.items() if value is not None},
        )


def _backbone_from_original(backbone: T5GemmaConfig | dict[str, Any]) -> T5GemmaConfig:
    """Creates a `T5GemmaConfig` without soft-capping and generation fields of old transformers versions."""
    if isinstance(backbone, T5GemmaConfig):
        backbone = backbone.to_dict()
    known = {field.name for field in dataclasses.fields(T5GemmaModuleConfig)} | {"rope_theta", "rope_scaling"}
    known -= {field.name for field in dataclasses.fields(PreTrainedConfig)}
    known |= {"pad_token_id", "bos_token_id", "eos_token_id"}
    sides: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        sides[side] = {name: value for name, value in backbone[side].items() if name in known}
        sides[side]["attn_logit_softcapping"] = None
    shared = {name: backbone[name] for name in ("dropout_rate", "attention_dropout") if name in backbone}
    return T5GemmaConfig(**sides, **shared)


AutoConfig.register(T5GemmaTTSCodecConfig.model_type, T5GemmaTTSCodecConfig, exist_ok=True)
AutoConfig.register(T5GemmaTTSConfig.model_type, T5GemmaTTSConfig, exist_ok=True)
T5GemmaTTSConfig.register_for_auto_class()

__all__ = ["AUTO_MAP", "T5GemmaTTSCodecConfig", "T5GemmaTTSConfig"]
