"""Streaming decoding of audio codes: overlapping windows with real context, joined by a short cross-fade.

The codec's decoder attends to the whole clip, so decoding a part of it gives slightly different audio. Decoding each
window with `left_context` and `right_context` extra frames removes most of the difference. Windows grow: a small first
window reduces latency, large later windows reduce redundant decoding. `benchmarks/streaming.py` measures these choices.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .audio import Waveform, save_audio
from .xcodec2 import XCodec2


@dataclass(frozen=True)
class StreamWindows:
    """
    Window sizes of streaming decoding, in codec frames.

    Args:
        first_frames (`int`): size of the first window.
        max_frames (`int`): maximum size of a window.
        growth (`float`): ratio of the sizes of consecutive windows.
        left_context (`int`): frames decoded before a window.
        right_context (`int`): frames decoded after a window; they add latency.
        fade_frames (`float`): length of the cross-fade between windows.

    Raises:
        ValueError: for a value out of range.
    """

    first_frames: int = 16
    max_frames: int = 250
    growth: float = 2.0
    left_context: int = 50
    right_context: int = 8
    fade_frames: float = 0.5

    def __post_init__(self) -> None:
        if self.first_frames < 1 or self.max_frames < self.first_frames:
            raise ValueError(
                "`first_frames` must be at least 1 and at most `max_frames`, got "
                f"{self.first_frames} and {self.max_frames}."
            )
        if self.growth < 1:
            raise ValueError(f"`growth` must be at least 1, got {self.growth}.")
        for name in ("left_context", "right_context", "fade_frames"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        if self.fade_frames > min(self.right_context, self.first_frames):
            raise ValueError(
                f"`fade_frames` must not be above `right_context` or `first_frames`, got {self.fade_frames}."
            )


class StreamDecoder:
    """
    Decodes the codes of one clip incrementally.

    Args:
        codec (`XCodec2`)
        windows (`StreamWindows`, *optional*): window sizes; the defaults if not given.
    """

    def __init__(self, codec: XCodec2, windows: StreamWindows | None = None):
        self.codec, self.windows = codec, windows or StreamWindows()
        self.codes: list[int] = []
        self.start = 0  # frame of `codes[0]`
        self.emitted_frames = 0  # frames whose sound has been handed over, but for the fade
        self.window_frames = self.windows.first_frames
        self.fade_tail = np.zeros(0, dtype=np.float32)  # sound after `done`, to fade into the next window's

    def push(self, codes: Iterable[int]) -> np.ndarray:
        """
        Appends codes and decodes the windows that they complete.

        Returns:
            `np.ndarray` of float32, shape (num_samples,): new audio, often empty.
        """
        self.codes.extend(codes)
        pieces = []
        while self.start + len(self.codes) >= self.emitted_frames + self.window_frames + self.windows.right_context:
            pieces.append(self._decode_window(self.emitted_frames + self.window_frames))
            self.window_frames = min(int(self.window_frames * self.windows.growth), self.windows.max_frames)
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)

    def finish(self) -> np.ndarray:
        """Decodes the remaining codes; returns audio as `push` does. Call it once, after the last code."""
        end = self.start + len(self.codes)
        return self._decode_window(end, last=True) if end > self.emitted_frames else np.zeros(0, dtype=np.float32)

    def _decode_window(self, end: int, last: bool = False) -> np.ndarray:
        windows = self.windows
        samples_per_frame = self.codec.sampling_rate / self.codec.frame_rate
        stop = end if last else end + windows.right_context
        sound = self.codec.decode(self.codes[: stop - self.start])

        def sample(frame: float) -> int:
            return round((frame - self.start) * samples_per_frame)

        fade = len(self.fade_tail)
        piece = sound[sample(self.emitted_frames) : len(sound) if last else sample(end)].copy()
        if fade:
            rise = (np.arange(fade, dtype=np.float32) + 0.5) / fade
            piece[:fade] = rise * piece[:fade] + (1 - rise) * self.fade_tail[: len(piece)]
        self.fade_tail = sound[sample(end) : sample(end + windows.fade_frames)].copy()
        self.emitted_frames = end
        num_dropped = max(0, end - windows.left_context) - self.start
        if num_dropped > 0:
            del self.codes[:num_dropped]
            self.start += num_dropped
        return piece


def decode_in_windows(codec: XCodec2, codes: list[int], windows: StreamWindows) -> np.ndarray:
    """Decodes a whole clip to float32 `(num_samples,)`; the codec's memory depends only on the window sizes."""
    decoder = StreamDecoder(codec, windows)
    return np.concatenate([decoder.push(codes), decoder.finish()])


def decode_stream(
    codec: XCodec2, stream: Iterable[torch.Tensor], end_token_id: int, windows: StreamWindows | None = None
) -> Iterator[list[np.ndarray]]:
    """
    Decodes a batch while its tokens are generated.

    Args:
        codec (`XCodec2`)
        stream (iterable of `torch.LongTensor` of shape `(batch_size,)`): tokens as `model.stream` yields them.
        end_token_id (`int`): ends a row; other special tokens are skipped.
        windows (`StreamWindows`, *optional*)

    Yields:
        `list[np.ndarray]`: new audio of each row, float32 `(num_samples,)`, empty for most rows.
    """
    decoders: list[StreamDecoder | None] = []
    for tokens in stream:
        if not decoders:
            decoders = [StreamDecoder(codec, windows) for _ in tokens]
        sounds = []
        for row, token in enumerate(map(int, tokens)):
            decoder, sound = decoders[row], np.zeros(0, dtype=np.float32)
            if decoder is not None and token == end_token_id:
                sound, decoders[row] = decoder.finish(), None
            elif decoder is not None and 0 <= token < codec.codebook_size:
                sound = decoder.push([token])
            sounds.append(sound)
        if any(map(len, sounds)):
            yield sounds
    rest = [np.zeros(0, dtype=np.float32) if decoder is None else decoder.finish() for decoder in decoders]
    if any(map(len, rest)):  # rows without an end token
        yield rest


class SpeechOutputMixin:
    """Decoding and saving methods of a processor with a `codec`, its `codebook_size` and `sampling_rate`."""

    codec: XCodec2
    codebook_size: int
    sampling_rate: int | None

    def speech_codes(self, sequence: Iterable[int] | torch.Tensor) -> list[int]:
        """The codec entries in a generated sequence `(length,)`, without end token, padding and other specials."""
        return [token for token in map(int, sequence) if 0 <= token < self.codebook_size]

    def batch_decode(
        self, sequences: Iterable[Iterable[int]] | torch.Tensor, windows: StreamWindows | None = None
    ) -> list[Waveform]:
        """
        Decodes generated sequences.

        Args:
            sequences (`torch.LongTensor` of shape `(batch_size, length)`, or list of sequences): as `generate` returns.
            windows (`StreamWindows`, *optional*): decode each clip in windows, with nearly the same result. Saves
                memory, which grows with the square of the clip length otherwise.

        Returns:
            `list[np.ndarray]`: a float32 mono waveform per row, at `sampling_rate` Hz; empty for a row without codes.
        """
        codes = [self.speech_codes(sequence) for sequence in sequences]
        if windows is not None:
            return [decode_in_windows(self.codec, clip, windows) for clip in codes]
        spoken = [clip for clip in codes if clip]
        waveforms = iter(self.codec.decode_batch(spoken) if spoken else [])
        return [next(waveforms) if clip else np.zeros(0, dtype=np.float32) for clip in codes]

    def stream_decode(
        self, stream: Iterable[torch.Tensor], windows: StreamWindows | None = None
    ) -> Iterator[Waveform | list[Waveform]]:
        """
        Decodes tokens while they are generated.

        Args:
            stream (iterable): tokens as `model.stream` yields them.
            windows (`StreamWindows`, *optional*): window sizes.

        Yields:
            `np.ndarray` of shape `(num_samples,)`: new audio, float32 at `sampling_rate` Hz. For a batch of several
            rows, a list with the new audio of each row, often empty.
        """
        for sounds in decode_stream(self.codec, stream, self.codebook_size + 3, windows):
            yield sounds[0] if len(sounds) == 1 else sounds

    def decode(self, sequences: torch.Tensor | list[int] | list[list[int]]) -> torch.Tensor | list[torch.Tensor]:
        """
        `batch_decode` in the format of transformers' text-to-speech pipeline: a float32 tensor `(num_samples,)` for one
        sequence, a list of tensors for several.
        """
        sequences = torch.as_tensor(sequences)
        waveforms = [torch.from_numpy(w) for w in self.batch_decode(torch.atleast_2d(sequences))]
        return waveforms[0] if len(waveforms) == 1 else waveforms

    def save_audio(
        self,
        audio: Waveform | torch.Tensor | Sequence[Waveform | torch.Tensor],
        path: str | os.PathLike[str],
        sampling_rate: int | None = None,
        overwrite: bool = False,
        watermark: str = "metadata",
    ) -> list[Path]:
        """
        Writes waveforms to files.

        Args:
            audio (`np.ndarray`, `torch.Tensor`, or a list of them): the output of `batch_decode`, or one waveform.
            path (`str` or `os.PathLike`): `.wav`, `.flac` or `.ogg`. Several waveforms are numbered: `name-1.wav`, ...
            sampling_rate (`int`, *optional*): Hz; the codec's if not given.
            overwrite (`bool`, *optional*, defaults to `False`): Replace existing files instead of raising an error.
            watermark (`str`, *optional*, defaults to `"metadata"`): "metadata" tags the files as synthetic speech,
                "off" does not. The samples are the same.

        Returns:
            `list[Path]`: the files written.

        Raises:
            FileExistsError: if a file exists and `overwrite` is false; then nothing is written.
            ValueError: if `audio` is an empty list.
        """
        waveforms = list(audio) if isinstance(audio, (list, tuple)) else [audio]
        if not waveforms:
            raise ValueError("`audio` must have at least one waveform, got an empty list.")
        path = Path(path)
        paths = [path]
        if len(waveforms) != 1:
            paths = [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, len(waveforms) + 1)]
        if existing := [str(p) for p in paths if p.exists() and not overwrite]:
            raise FileExistsError(f"{existing[0]!r} exists; pass `overwrite=True` to replace it.")
        rate = sampling_rate or self.sampling_rate or self.codec.sampling_rate
        for waveform, one_path in zip(waveforms, paths, strict=True):
            save_audio(waveform, one_path, rate, overwrite=overwrite, watermark=watermark)
        return paths


__all__ = ["SpeechOutputMixin", "StreamDecoder", "StreamWindows", "decode_in_windows", "decode_stream"]
