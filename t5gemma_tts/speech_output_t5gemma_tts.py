"""What a processor makes of generated tokens: codes, waveforms, sound while it comes, files."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from .audio_t5gemma_tts import Waveform, save_audio
from .streaming_t5gemma_tts import StreamWindows, decode_in_windows, decode_stream
from .xcodec2_t5gemma_tts import XCodec2


class SpeechOutputMixin:
    """Of a processor with a `codec`, its `codebook_size` and `sampling_rate`."""

    codec: XCodec2
    codebook_size: int
    sampling_rate: int | None

    def speech_codes(self, sequence: Iterable[int] | torch.Tensor) -> list[int]:
        """The codec entries in a generated sequence `(length,)`; end token, padding and other specials are left out."""
        return [token for token in map(int, sequence) if 0 <= token < self.codebook_size]

    def batch_decode(
        self, sequences: Iterable[Iterable[int]] | torch.Tensor, windows: StreamWindows | None = None
    ) -> list[Waveform]:
        """
        Decodes generated sequences.

        Args:
            sequences (`torch.LongTensor` of shape `(batch_size, length)`, or list of sequences): as `generate` returns.
            windows (`StreamWindows`, *optional*): decode clip by clip in these, nearly the same sound: the memory of a
                whole clip grows with the square of its length.

        Returns:
            `list[np.ndarray]`: a float32 mono waveform per row, at `sampling_rate` Hz; empty for a row without speech.
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
        Sound while its tokens come.

        Args:
            stream (iterable): what `model.stream` returns.
            windows (`StreamWindows`, *optional*): how the stream is cut.

        Yields:
            `np.ndarray` of shape `(num_samples,)`, float32 at `sampling_rate` Hz, in one piece after the other; for a
            batch of several rows a list with what is new of each, often nothing.
        """
        for sounds in decode_stream(self.codec, stream, self.codebook_size + 3, windows):
            yield sounds[0] if len(sounds) == 1 else sounds

    def decode(self, sequences: torch.Tensor | list[int] | list[list[int]]) -> torch.Tensor | list[torch.Tensor]:
        """
        As `batch_decode`, in the form that transformers' text-to-speech pipeline takes: a float32 tensor
        `(num_samples,)` for one sequence, a list of them for several.
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
    ) -> list[Path]:
        """
        Writes waveforms to files.

        Args:
            audio (`np.ndarray`, `torch.Tensor`, or a list of them): what `batch_decode` returns, or one of it.
            path (`str` or `os.PathLike`): `.wav`, `.flac` or `.ogg`; several waveforms are numbered, `name-1.wav` on.
            sampling_rate (`int`, *optional*): Hz; the codec's if not given.
            overwrite (`bool`, *optional*, defaults to `False`): Replace existing files instead of refusing to.

        Returns:
            `list[Path]`: the files written. Nothing is written if one of them exists and may not be replaced.
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
            save_audio(waveform, one_path, rate, overwrite=overwrite)
        return paths


__all__ = ["SpeechOutputMixin"]
