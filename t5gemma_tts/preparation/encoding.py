"""Converts source rows to dataset rows."""

import logging

import numpy as np
import torch

from ..model.audio import check_waveform, resample, to_mono
from ..model.audio_reading import load_audio
from ..model.language import canonical_language, detect_language
from ..model.text_normalization import normalize_text
from .filters import RowFilters
from .original_source import read_codes, read_neighbors
from .rows import BadRow, SourceRow
from .speed import change_speed


logger = logging.getLogger(__name__)


class TextPreparation:
    """
    Determines the text and language of a row.

    Args:
        filters (`RowFilters`)
        normalize (`bool`): Normalize texts like the processor.
        default_language (`str`, *optional*): Language of rows without one (default: detected).
    """

    def __init__(self, filters: RowFilters, normalize: bool, default_language: str | None = None):
        self.filters, self.normalize = filters, normalize
        self.default_language = canonical_language(default_language) if default_language is not None else None

    def __call__(self, row: SourceRow) -> tuple[str, str]:
        """
        Returns:
            `(text, language)`

        Raises:
            BadRow: if the text is empty or a filter rejects it.
        """
        if row.text is None or not row.text.strip():
            raise BadRow("empty_text", "the transcript is empty.")
        language = canonical_language(row.language) if row.language else self.default_language
        if language is None:
            language = detect_language(row.text)
        text = normalize_text(row.text, language) if self.normalize else row.text
        if not text.strip():
            raise BadRow("empty_text", f"nothing is left of the transcript {row.text[:80]!r} after normalization.")
        self.filters.check_text(text, language)
        return text, language


class ClipEncoder:
    """
    Encodes recordings. `load` is thread-safe, `encode` is not.

    Args:
        codec (`XCodec2`)
        filters (`RowFilters`)
        normalize (`bool`, *optional*, defaults to `True`): See `TextPreparation`.
        default_language (`str`, *optional*)
        speed_factors (`list[float]`, *optional*): Also encode the clip at these speeds.
    """

    def __init__(
        self,
        codec,
        filters: RowFilters,
        normalize: bool = True,
        default_language: str | None = None,
        speed_factors: list[float] | None = None,
    ):
        self.codec, self.filters = codec, filters
        self.prepare_text = TextPreparation(filters, normalize, default_language)
        self.speed_factors = speed_factors or []

    def load(self, row_id: str, row: SourceRow) -> tuple[np.ndarray, dict]:
        """
        Returns:
            `(waveform, columns)`: float32 of shape (num_samples,) at the input rate of the codec, and all columns
            except codes.

        Raises:
            BadRow: if the row cannot be read, or a filter rejects it.
        """
        text, language = self.prepare_text(row)
        waveform, sampling_rate = self._read(row)
        seconds = len(waveform) / sampling_rate
        self.filters.check_duration(seconds, text)
        return resample(to_mono(waveform), sampling_rate, self.codec.input_sampling_rate), {
            "id": row_id,
            "text": text,
            "speaker": row.speaker,
            "language": language,
            "duration_seconds": seconds,
            "start_seconds": row.start_seconds,
            "split": row.split,
        }

    def _read(self, row: SourceRow) -> tuple[np.ndarray, float]:
        try:
            if row.waveform is not None:
                waveform, sampling_rate = row.waveform, row.sampling_rate
            else:
                waveform, sampling_rate = load_audio(row.audio_bytes or row.file)
            return check_waveform(waveform, sampling_rate), sampling_rate
        except ImportError:  # a missing decoder affects all clips
            raise
        except Exception as error:  # decoders raise arbitrary errors for damaged files
            raise BadRow("audio", f"cannot read the audio: {error}") from error

    def encode(self, loaded: tuple[np.ndarray, dict]) -> dict:
        """
        Returns:
            `dict`: all columns.

        Raises:
            BadRow: if the codec rejects the clip, or it does not fit into memory.
        """
        waveform, columns = loaded
        codes = self._codes(waveform)
        row = {**columns, "codes": codes, "num_frames": len(codes)}
        if self.speed_factors:
            sampling_rate = self.codec.input_sampling_rate
            row["codes_stretched"] = [
                self._codes(change_speed(waveform, sampling_rate, factor)) for factor in self.speed_factors
            ]
        return row

    def _codes(self, waveform: np.ndarray) -> np.ndarray:
        try:
            codes = self.codec.encode(waveform, self.codec.input_sampling_rate)
        except ValueError as error:
            raise BadRow("audio", f"cannot encode the audio: {error}") from error
        except torch.OutOfMemoryError as error:
            raise BadRow(
                "memory", f"the clip does not fit into memory, lower `max_seconds`: {str(error).splitlines()[0]}"
            ) from error
        return codes.numpy().astype(np.uint16)


class CodesImporter:
    """
    Imports rows of the original project with unchanged codes and texts. Has the same methods as `ClipEncoder`.

    Args:
        filters (`RowFilters`)
        codebook_size (`int`): Codes must be below this.
        frame_rate (`float`): Codes per second.
        normalize (`bool`, *optional*, defaults to `False`): See `TextPreparation`.
        default_language (`str`, *optional*)
    """

    def __init__(
        self,
        filters: RowFilters,
        codebook_size: int,
        frame_rate: float,
        normalize: bool = False,
        default_language: str | None = None,
    ):
        self.filters, self.codebook_size, self.frame_rate = filters, codebook_size, frame_rate
        self.prepare_text = TextPreparation(filters, normalize, default_language)

    def load(self, row_id: str, row: SourceRow) -> dict:
        """
        Returns:
            `dict`: all columns.

        Raises:
            BadRow: if the row cannot be read, or a filter refuses it.
        """
        text, language = self.prepare_text(row)
        codes = read_codes(row.codes_file, self.codebook_size)
        neighbors, distances = read_neighbors(row.neighbors_file)
        seconds = len(codes) / self.frame_rate
        self.filters.check_duration(seconds, text)
        if row.manifest_num_frames != len(codes):
            logger.warning(
                "%s (%s) has %d codes, its manifest says %d; using all codes.",
                row_id,
                row.codes_file,
                len(codes),
                row.manifest_num_frames,
            )
        return {
            "id": row_id,
            "text": text,
            "codes": codes,
            "speaker": row.speaker,
            "language": language,
            "num_frames": len(codes),
            "duration_seconds": seconds,
            "start_seconds": row.start_seconds,
            "neighbors": neighbors,
            "neighbor_distances": distances,
            "split": row.split,
        }

    def encode(self, loaded: dict) -> dict:
        """Returns the row unchanged, because `load` already did everything."""
        return loaded
