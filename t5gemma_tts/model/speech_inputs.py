"""The input side of the processor: texts and references to the tensors that the model takes."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from transformers import BatchFeature, PreTrainedTokenizerBase

from .duration import estimate_duration
from .english_pronunciation import STRESS
from .lexicon import Lexicon
from .reference import ReferenceAudio, Transcriber, load_transcriber, read_codes, read_reference
from .reference_quality import prepare_reference
from .text_front_end import LexiconLike, PreparedText, TextFrontEnd
from .validation import is_finite_number
from .xcodec2 import XCodec2


logger = logging.getLogger("t5gemma_tts")  # not __name__, which is another one in code that a checkpoint brings


class SpeechInputMixin:
    """`__call__` of a processor, and estimates of durations. Its attributes are described there."""

    tokenizer: PreTrainedTokenizerBase
    front_end: TextFrontEnd
    codec: XCodec2
    codec_device: Any
    codebook_size: int
    frame_rate: float
    text_separator_token_id: int
    text_bos_token_id: int | None
    text_eos_token_id: int | None
    max_text_tokens: int
    max_duration_seconds: float
    trim_silence: bool
    normalize_loudness: bool
    _transcribers: dict[str, Transcriber]

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask", "num_frames"]

    def __call__(
        self,
        text: str | list[str],
        reference_audio: ReferenceAudio | Sequence[ReferenceAudio | None] | None = None,
        reference_text: str | list[str | None] | None = None,
        language: str | list[str | None] | None = None,
        duration: float | list[float | None] | None = None,
        speed: float | list[float] = 1.0,
        sampling_rate: int | list[int | None] | None = None,
        asr: str | Transcriber | None = None,
        normalize: bool | None = None,
        lexicon: LexiconLike | None = None,
        trim_silence: bool | None = None,
        normalize_loudness: bool | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        r"""
        Args:
            text (`str` or `list[str]`): What to say. Japanese is normalised as in the original's training data.
            reference_audio (*optional*):
                Voice to clone: a path, the bytes of an audio file or an open one; a float waveform `(num_samples,)`,
                `(num_samples, num_channels)` or `(num_channels, num_samples)` together with `sampling_rate`; an audio
                dict or decoder of `datasets`; or a dict with "codes". A list has one entry (or None) per text;
                anything else holds for all of them.
            reference_text (`str` or list, *optional*): What is said in the reference, likewise.
            language (`str` or list, *optional*): "en", "ja", "zh"; detected when None.
            duration (`float` or list, *optional*): Seconds that the speech should take; estimated when None.
            speed (`float` or list, *optional*, defaults to 1.0): Divides the estimated duration.
            sampling_rate (`int` or list, *optional*): Hz of a reference waveform.
            asr (`str` or callable, *optional*):
                Speech recognition for references without a transcript, e.g. `"openai/whisper-large-v3-turbo"`; see
                `load_transcriber`.
            normalize (`bool`, *optional*): Whether numbers, dates, symbols and abbreviations become words; the
                checkpoint's default when None.
            lexicon (*optional*):
                Pronunciations of words, for this call: a dict such as `{"nginx": "engine x"}`, a TSV file or a
                [`Lexicon`]. A pronunciation is another spelling, or phonemes between slashes for a checkpoint that
                reads phonemes.
            trim_silence, normalize_loudness (`bool`, *optional*): What to do with recordings, see
                `prepare_reference`; the processor's attributes of these names when None.

        Returns:
            [`BatchFeature`] of int64 tensors: `input_ids` and `attention_mask` of shape `(batch_size, text_length)`,
            padded right; `decoder_input_ids` and `decoder_attention_mask` of shape `(batch_size, prompt_length)` (start
            token, and with a reference its codes and the separator), padded left; `num_frames` of shape
            `(batch_size,)`, the audio tokens that each text should take.

        Raises:
            ValueError: for input that cannot be spoken; the message names the argument and, in a batch, the entry.
            FileNotFoundError: for a reference file that is not there.
        """
        if return_tensors != "pt":
            raise ValueError(f"`return_tensors` must be 'pt', got {return_tensors!r}.")
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, Sequence) or not texts:
            raise ValueError(f"`text` must be a string or a list of strings that is not empty, got {text!r}.")
        given = {
            "reference_audio": reference_audio,
            "reference_text": reference_text,
            "language": language,
            "duration": duration,
            "speed": speed,
            "sampling_rate": sampling_rate,
        }
        per_text = {name: _one_per_text(name, value, len(texts)) for name, value in given.items()}
        if lexicon is not None:
            lexicon = Lexicon.from_value(lexicon)
        prepare = partial(self.front_end.prepare, normalize=normalize, lexicon=lexicon)
        # a reference given once for all texts is read, transcribed and encoded once
        references: dict[tuple[int, int, int], tuple[list[int], float, str]] = {}
        read_reference = partial(self.read_reference, trim_silence=trim_silence, normalize_loudness=normalize_loudness)
        samples = []
        for number, one_text in enumerate(texts):
            options = {name: values[number] for name, values in per_text.items()}
            try:
                samples.append(self._prepare_one(one_text, asr, references, read_reference, prepare, **options))
            except (ValueError, FileNotFoundError) as error:
                if len(texts) == 1:
                    raise
                # not type(error): subclasses such as UnicodeError take other arguments
                kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
                raise kind(f"text {number}: {error}") from error
        return BatchFeature(self._collate(samples), tensor_type="pt")

    def _prepare_one(
        self,
        text: object,
        asr: str | Transcriber | None,
        references: dict[tuple[int, int, int], tuple[list[int], float, str]],
        read_reference: Callable[..., tuple[list[int], float, str]],
        prepare: Callable[..., PreparedText],
        reference_audio: Any,
        reference_text: Any,
        language: Any,
        duration: Any,
        speed: Any,
        sampling_rate: Any,
    ) -> tuple[list[int], list[int], int]:
        """Text ids, decoder prompt ids and the number of frames of one sample."""
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"`text` must be a string with something to say, got {text!r}.")
        prepared = prepare(text, language)
        if not prepared.text.strip() or prepared.num_phonemes == 0:
            reason = (
                "letters or digits"
                if self.front_end.phoneme_languages
                else "characters that Japanese normalisation keeps"
            )
            raise ValueError(f"`text` {text!r} has nothing to say: it has no {reason}.")
        codes, reference_seconds = None, None
        if reference_audio is None:
            if reference_text is not None:
                raise ValueError("`reference_text` was given without `reference_audio`.")
        else:
            # the caller holds the objects, so their ids are their own as long as this call lasts
            key = (id(reference_audio), id(reference_text), id(sampling_rate))
            if key not in references:
                references[key] = read_reference(reference_audio, reference_text, sampling_rate, asr)
            codes, reference_seconds, reference_text = references[key]

        reference = None if reference_text is None else prepare(reference_text)
        for name, value in (("speed", speed), ("duration", duration)):
            if not (is_finite_number(value) and value > 0) and not (name == "duration" and value is None):
                raise ValueError(f"`{name}` must be a finite number above 0, got {value!r}.")
        if duration is None:
            duration = self._estimate(prepared, reference_text, reference, reference_seconds) / speed
            source = f"the estimate for this text at `speed` {speed}"
        else:
            source = "`duration`"
            if speed != 1.0:
                raise ValueError(
                    f"`speed` divides the estimated duration; with `duration` it must be 1.0, got {speed!r}."
                )
        if duration > self.max_duration_seconds:
            raise ValueError(
                f"{source} must be at most {self.max_duration_seconds} seconds, got {duration:.2f}; split the text."
            )
        num_frames = max(1, round(duration * self.frame_rate))

        ids = self._tokenize(prepared)
        prompt = [self.codebook_size]
        if codes is not None:
            assert reference is not None  # read_reference gives a text
            ids = self._tokenize(reference) + [self.text_separator_token_id] + ids
            prompt += codes + [self.codebook_size + 4]
        if self.text_bos_token_id is not None:
            ids = [self.text_bos_token_id] + ids
        if self.text_eos_token_id is not None:
            ids = ids + [self.text_eos_token_id]
        if len(ids) > self.max_text_tokens:
            raise ValueError(
                f"`text` must have at most {self.max_text_tokens} tokens with its reference text, got {len(ids)}."
            )
        return ids, prompt, num_frames

    def estimate_duration(
        self,
        text: str,
        language: str | None = None,
        reference_text: str | None = None,
        reference_duration_seconds: float | None = None,
        normalize: bool | None = None,
        lexicon: LexiconLike | None = None,
    ) -> float:
        """
        The duration in seconds that a text gets when none is asked for, at `speed` 1.0; arguments as in `__call__`.

        Raises:
            ValueError: for input that cannot be spoken.
        """
        prepare = partial(self.front_end.prepare, normalize=normalize, lexicon=lexicon)
        reference = None if reference_text is None else prepare(reference_text)
        return self._estimate(prepare(text, language), reference_text, reference, reference_duration_seconds)

    def _estimate(
        self,
        prepared: PreparedText,
        reference_text: str | None,
        reference: PreparedText | None,
        reference_seconds: float | None,
    ) -> float:
        return estimate_duration(
            prepared.words,
            language=prepared.language,
            reference_text=reference_text,
            reference_duration_seconds=reference_seconds,
            reference_language=None if reference is None else reference.language,
            num_phonemes=prepared.num_phonemes,
            reference_num_phonemes=None if reference is None else reference.num_phonemes,
        )

    def _tokenize(self, prepared: PreparedText) -> list[int]:
        ids: list[int] = self.tokenizer(prepared.text, add_special_tokens=False)["input_ids"]
        if prepared.num_phonemes is not None and self.tokenizer.unk_token_id in ids:
            vocabulary = self.tokenizer.get_vocab()
            unknown = next(c for c in prepared.text if c not in vocabulary and c not in STRESS and not c.isspace())
            raise ValueError(f"`lexicon`: this checkpoint has no phoneme {unknown!r}, in {prepared.text!r}.")
        return ids

    def read_reference(
        self,
        audio: ReferenceAudio,
        text: str | None = None,
        sampling_rate: int | None = None,
        asr: str | Transcriber | None = None,
        trim_silence: bool | None = None,
        normalize_loudness: bool | None = None,
    ) -> tuple[list[int], float, str]:
        """
        Codes, seconds and transcript of a reference, from what `__call__` takes as `reference_audio` and so on.

        `{"codes": codes}` as `reference_audio` stands for a voice that is encoded already.
        """
        if isinstance(audio, dict) and "codes" in audio:
            codes = read_codes(audio["codes"], self.codebook_size)
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"`reference_text` must say what the codes of the reference say, got {text!r}.")
            return codes, len(codes) / self.frame_rate, text
        waveform, sampling_rate = read_reference(audio, sampling_rate)
        waveform, report = prepare_reference(
            waveform,
            sampling_rate,
            self.trim_silence if trim_silence is None else trim_silence,
            self.normalize_loudness if normalize_loudness is None else normalize_loudness,
        )
        logger.info(report)
        if text is None:
            if asr is None:
                raise ValueError(
                    "`reference_text` is needed with `reference_audio`; or name a speech recognition model as `asr`, "
                    "e.g. 'openai/whisper-large-v3-turbo'."
                )
            if not callable(asr) and asr not in self._transcribers:
                self._transcribers[asr] = load_transcriber(asr, self.codec_device)
            text = (asr if callable(asr) else self._transcribers[asr])(waveform, sampling_rate)
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"`reference_text` must be a string with the words of the reference, got {text!r}.")
        codes = self.codec.encode(waveform, sampling_rate).tolist()
        return codes, len(waveform) / sampling_rate, text

    def _collate(self, samples: list[tuple[list[int], list[int], int]]) -> dict[str, list[Any]]:
        text_length = max(len(ids) for ids, _, _ in samples)
        prompt_length = max(len(prompt) for _, prompt, _ in samples)
        text_pad = self.tokenizer.pad_token_id or 0
        audio_pad = self.codebook_size + 2
        batch: dict[str, list[Any]] = {name: [] for name in self.model_input_names}
        for ids, prompt, num_frames in samples:
            right, left = text_length - len(ids), prompt_length - len(prompt)
            batch["input_ids"].append(ids + [text_pad] * right)
            batch["attention_mask"].append([1] * len(ids) + [0] * right)
            batch["decoder_input_ids"].append([audio_pad] * left + prompt)
            batch["decoder_attention_mask"].append([0] * left + [1] * len(prompt))
            batch["num_frames"].append(num_frames)
        return batch


def _one_per_text(name: str, value: Any, count: int) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"`{name}` must have one entry per text ({count}), got {len(value)}.")
    return list(value)


__all__ = ["SpeechInputMixin"]
