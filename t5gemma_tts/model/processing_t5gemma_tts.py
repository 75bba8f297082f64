"""Processor of T5Gemma-TTS: texts and reference recordings to tensors, audio tokens to waveforms."""

import math
import os
from typing import Any

import torch
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from .configuration_t5gemma_tts import T5GemmaTTSConfig
from .reference import Transcriber
from .speech_inputs import SpeechInputMixin
from .streaming import SpeechOutputMixin
from .text_front_end import TextFrontEnd
from .xcodec2 import XCodec2


HUB_ARGUMENTS = ("revision", "token", "cache_dir", "local_files_only", "force_download")


class T5GemmaTTSProcessor(SpeechInputMixin, SpeechOutputMixin, ProcessorMixin):
    r"""
    Prepares texts and references for [`T5GemmaTTSForConditionalGeneration`], and turns what it generates into audio.

    The codec is loaded when it is first needed, on the device in `codec_device` (the CPU unless set).

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The text backbone's.
        codec_name_or_path (`str`, *optional*): Hub name or folder of the codec; None is the checkpoint's own `codec/`.
        sampling_rate (`int`, *optional*): Hz of the audio that the codec decodes to; its own, once loaded, if None.
        codebook_size, frame_rate, text_separator_token_id, text_bos_token_id, text_eos_token_id, max_duration_seconds:
            As in [`T5GemmaTTSConfig`].
        max_text_tokens (`int`, *optional*, defaults to 8192): Longest text with its reference text, in tokens.
        phoneme_languages (`list[str]`, *optional*): Languages whose text becomes phonemes; see [`TextFrontEnd`].
        normalize (`bool`, *optional*, defaults to `False`): Whether numbers, dates, symbols and abbreviations become
            words unless a call says otherwise.
        trim_silence, normalize_loudness (`bool`, *optional*, defaults to `False`): Whether references lose the silence
            at their ends, and get the loudness of -23 LUFS, unless a call says otherwise.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        codec_name_or_path: str | None = None,
        sampling_rate: int | None = None,
        codebook_size: int = 65536,
        frame_rate: float = 50.0,
        text_separator_token_id: int = 255999,
        text_bos_token_id: int | None = None,
        text_eos_token_id: int | None = None,
        max_text_tokens: int = 8192,
        max_duration_seconds: float = 120.0,
        phoneme_languages: list[str] | None = None,
        normalize: bool = False,
        trim_silence: bool = False,
        normalize_loudness: bool = False,
        chat_template: str | None = None,
    ):
        self.codec_name_or_path = codec_name_or_path
        self.sampling_rate = sampling_rate
        self.codebook_size = codebook_size
        self.frame_rate = frame_rate
        self.text_separator_token_id = text_separator_token_id
        self.text_bos_token_id = text_bos_token_id
        self.text_eos_token_id = text_eos_token_id
        self.max_text_tokens = max_text_tokens
        self.max_duration_seconds = max_duration_seconds
        self.trim_silence = trim_silence
        self.normalize_loudness = normalize_loudness
        self.front_end = TextFrontEnd(phoneme_languages, normalize)
        self.codec_device: str | torch.device | None = None
        self._codec: XCodec2 | None = None
        self._source: tuple[str, dict[str, Any]] | None = None
        self._transcribers: dict[str, Transcriber] = {}
        super().__init__(tokenizer, chat_template=chat_template)

    @classmethod
    def from_config(
        cls, config: T5GemmaTTSConfig, tokenizer: PreTrainedTokenizerBase, front_end: TextFrontEnd | None = None
    ) -> "T5GemmaTTSProcessor":
        """The processor that belongs to a model's configuration; `front_end` prepares texts for the tokenizer."""
        processor = cls(
            tokenizer,
            codec_name_or_path=config.codec_name_or_path,
            sampling_rate=config.sampling_rate,
            codebook_size=config.codebook_size,
            frame_rate=config.frame_rate,
            text_separator_token_id=config.text_separator_token_id,
            text_bos_token_id=config.text_bos_token_id,
            text_eos_token_id=config.text_eos_token_id,
            max_text_tokens=config.get_text_config(encoder=True).max_position_embeddings,
            max_duration_seconds=config.max_duration_seconds,
        )
        if front_end is not None:
            processor.front_end = front_end
        return processor

    @classmethod
    def from_pretrained(  # type: ignore[override]  # arguments of transformers' that are not named here are keywords
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> "T5GemmaTTSProcessor":
        """
        As in transformers. For a checkpoint of the original project, which has no processor, the tokenizer is that in
        the folder, or the one its configuration names.

        Raises:
            OSError: if there is no tokenizer.
            ValueError: if its vocabulary is larger than the model's.
        """
        hub_kwargs = {name: kwargs[name] for name in HUB_ARGUMENTS if kwargs.get(name) is not None}
        original, _ = PreTrainedConfig.get_config_dict(pretrained_model_name_or_path, **hub_kwargs)
        if original.get("model_type") == "t5gemma_voice":
            config = T5GemmaTTSConfig.from_original(original)
            try:
                # with `config`, the original's own code, which its configuration names, is not asked for
                tokenizer = AutoTokenizer.from_pretrained(
                    pretrained_model_name_or_path, config=config, trust_remote_code=False, **hub_kwargs
                )
            except (OSError, ValueError) as error:  # no tokenizer files there
                if not original.get("text_tokenizer_name"):
                    raise OSError(
                        f"{str(pretrained_model_name_or_path)!r} neither holds nor names a tokenizer."
                    ) from error
                tokenizer = AutoTokenizer.from_pretrained(original["text_tokenizer_name"])
            processor = cls.from_config(config, tokenizer)
            processor.sampling_rate = None  # the original notes 44 100 Hz whatever its codec is
        else:
            processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        loaded = processor[0] if isinstance(processor, tuple) else processor
        _check_vocabulary(loaded.tokenizer, original)
        loaded._source = (str(pretrained_model_name_or_path), hub_kwargs)
        loaded.front_end.source, loaded.front_end.hub_kwargs = loaded._source
        return processor

    def save_pretrained(  # type: ignore[override]  # `save_codec` stands before `push_to_hub`
        self,
        save_directory: str | os.PathLike[str],
        save_codec: bool = True,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """
        As in transformers; a codec that belongs to the checkpoint goes along, into `codec/`, if `save_codec`. With
        `push_to_hub`, `kwargs` are those of the method of that name; `repo_id` is the folder's name if not given.

        Raises:
            ValueError: for an upload without the codec.
        """
        if push_to_hub and not save_codec:
            raise ValueError("`push_to_hub` uploads the codec as well: `save_codec` must be True with it.")
        files = super().save_pretrained(save_directory, **kwargs)
        files += self.front_end.save(save_directory)
        own_codec = self.codec_name_or_path is None and (self._codec is not None or self._source is not None)
        if save_codec and own_codec:
            self.codec.save_pretrained(os.path.join(save_directory, "codec"))
        if push_to_hub:  # not by the parent class, which would do it before the codec is written
            repo_id = kwargs.pop("repo_id", None) or os.path.basename(os.path.normpath(save_directory))
            self.push_to_hub(repo_id, **kwargs)
        return files

    def to_dict(self) -> dict[str, Any]:
        held = self._codec, self._transcribers, self.front_end
        del self.front_end
        self._codec, self._transcribers = None, {}  # would be copied
        try:
            output: dict[str, Any] = super().to_dict()
        finally:
            self._codec, self._transcribers, self.front_end = held
        output["phoneme_languages"] = self.front_end.phoneme_languages or None
        output["normalize"] = self.front_end.normalize
        return output

    @property
    def codec(self) -> XCodec2:
        """
        The codec, loaded at first use.

        Raises:
            OSError: if there is none where it should be.
            ValueError: if it does not fit the model's audio tokens.
        """
        if self._codec is not None:
            return self._codec
        if self.codec_name_or_path is not None:
            codec = XCodec2.from_pretrained(self.codec_name_or_path, device=self.codec_device)
        elif self._source is not None:
            name, hub_kwargs = self._source
            codec = XCodec2.from_pretrained(name, subfolder="codec", device=self.codec_device, **hub_kwargs)
        else:
            raise OSError("this processor has no codec: set `codec_name_or_path`, or `processor.codec = XCodec2(...)`.")
        self.codec = codec
        return codec

    @codec.setter
    def codec(self, codec: XCodec2) -> None:
        if self.sampling_rate is None:
            self.sampling_rate = codec.sampling_rate
        for name in ("codebook_size", "frame_rate", "sampling_rate"):
            if not math.isclose(ours := getattr(self, name), theirs := getattr(codec, name)):
                raise ValueError(f"the codec's `{name}` is {theirs}, but this checkpoint was made for {ours}.")
        self._codec = codec


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: dict[str, Any]) -> None:
    """Ids beyond the text embedding would be an error in the midst of a batch, on CUDA one without words."""
    backbone = config.get("backbone") or config.get("t5_config_dict")
    encoder = backbone.get("encoder") if isinstance(backbone, dict) else None
    size = encoder.get("vocab_size") if isinstance(encoder, dict) else None
    if isinstance(size, int) and len(tokenizer) > size:
        raise ValueError(f"the tokenizer has {len(tokenizer)} entries, the model only {size}: it is another model's.")


AutoProcessor.register(T5GemmaTTSConfig, T5GemmaTTSProcessor, exist_ok=True)
T5GemmaTTSProcessor.register_for_auto_class()

__all__ = ["T5GemmaTTSProcessor"]
