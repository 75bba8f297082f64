"""Generates shards of a batch; used by the local process and by Ray workers."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Features, List, Value

from ..model.engine import SpeechEngine, SpeechRequest, speech_requests
from ..model.lexicon import Lexicon
from ..model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..model.streaming import StreamWindows
from ..serving.errors import NotFound
from ..serving.formats import encode_audio
from ..serving.synthesis import MAX_WHOLE_DECODE_SECONDS, check_estimated_duration
from ..serving.voices import CODES_FILE, METADATA_FILE, VOICE_NAME
from ..sharded.fingerprint import file_fingerprint
from ..sharded.shard_store import ShardStore
from .arguments import BatchArguments
from .checkpoint_fingerprint import checkpoint_fingerprint
from .source import BatchRow, BatchSource
from .voices import VoiceResolver


SEED_BITS = 53  # JSON numbers represent such integers exactly, and the server accepts them
ROW_ERRORS = (ValueError, FileNotFoundError, NotFound)  # of one row; any other error would occur in all rows


def batch_features(contents: tuple[str, ...]) -> Features:
    """Returns the columns of a shard."""
    features = {name: Value("string") for name in ("id", "text", "language", "speaker")}
    if "audio" in contents:
        features["audio"] = {"bytes": Value("binary"), "path": Value("string")}
    if "codes" in contents:
        features["codes"] = List(Value("uint16"))
    return Features({**features, "seconds": Value("float32"), "seed": Value("int64"), "error": Value("string")})


def row_seed(seed: int, row_id: str) -> int:
    """Returns the seed of a row in [0, 2**53), which depends only on `seed` and the row's id."""
    digest = hashlib.sha256(f"{seed} {row_id}".encode("utf-8", errors="surrogatepass")).digest()
    return int.from_bytes(digest, "big") % 2**SEED_BITS


class BatchWorker:
    """
    Generates speech for the shards of a batch.

    The model is loaded on first use.

    Args:
        arguments (`BatchArguments`): Options.
    """

    def __init__(self, arguments: BatchArguments):
        self.arguments = arguments
        self.source = BatchSource(
            arguments.source, arguments.text_column, arguments.id_column, arguments.config_name, arguments.split
        )
        features = batch_features(arguments.contents)
        self.store = ShardStore(arguments.output, len(self.source), arguments.rows_per_shard, features)

    @cached_property
    def _model_and_processor(self) -> tuple[T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor]:
        return self.arguments.model.load()

    @cached_property
    def _lexicon(self) -> Lexicon | None:
        return None if self.arguments.lexicon is None else Lexicon.load(self.arguments.lexicon)

    @cached_property
    def voices(self) -> VoiceResolver:
        arguments = self.arguments
        _, processor = self._model_and_processor
        return VoiceResolver(
            processor,
            self.source.folder,
            arguments.voices_dir,
            arguments.reference_audio,
            arguments.reference_text,
            arguments.asr,
        )

    def settings(self) -> dict[str, Any]:
        """
        Returns everything that affects the output: source, model, voices and options.

        Raises:
            OSError: if the model, codec, folder of voices or reference does not exist.
        """
        arguments, model = self.arguments, self.arguments.model
        options = (
            "language",
            "speed",
            "normalize",
            "reference_text",
            "asr",
            "sampling",
            "seed",
            "contents",
            "watermark",
            "rows_per_shard",
        )
        reference = arguments.reference_audio
        return {
            **{name: getattr(arguments, name) for name in options},
            "lexicon_fingerprint": arguments.lexicon and file_fingerprint(Path(arguments.lexicon)),
            "source_fingerprint": self.source.fingerprint,
            "source_rows": len(self.source),
            "model_fingerprint": checkpoint_fingerprint(model.model),
            "codec_fingerprint": model.codec and checkpoint_fingerprint(model.codec),
            "dtype": "bfloat16" if model.low_vram else model.dtype,
            "quantization": model.quantization,
            "trim_silence": model.trim_silence,
            "normalize_loudness": model.normalize_loudness,
            "reference_fingerprint": reference and file_fingerprint(Path(reference)),
            "voices_fingerprint": self._voices_fingerprint(),
        }

    def _voices_fingerprint(self) -> dict[str, list[str]] | None:
        """Returns the fingerprints of the stored voices that rows use, by speaker."""
        if self.arguments.voices_dir is None:
            return None
        folder = Path(self.arguments.voices_dir)
        if not folder.is_dir():
            raise FileNotFoundError(f"`voices_dir` {str(folder)!r} is not a folder.")
        fingerprints = {}
        for speaker in filter(VOICE_NAME.fullmatch, self.source.speakers()):
            files = [folder / speaker / name for name in (CODES_FILE, METADATA_FILE)]
            fingerprints[speaker] = [file_fingerprint(path) for path in files if path.is_file()]
        return fingerprints

    def process_shard(self, shard: int, on_row: Callable[[], None] = lambda: None) -> tuple[int, int]:
        """
        Generates and writes a shard.

        A batch never mixes rows of different shards, so the output does not depend on which worker has which shards.

        Args:
            shard (`int`): Index of the shard.
            on_row (callable, *optional*): Called after each row.

        Returns:
            `(num_spoken, num_failed)`

        Raises:
            OSError: if the shard cannot be written.
        """
        model, processor = self._model_and_processor
        indices = self.store.rows(shard)
        rows: dict[int, dict[str, Any]] = {}
        requests: dict[SpeechRequest, dict[str, Any]] = {}
        for index in indices:
            row = self.source[index]
            text = row.text if isinstance(row.text, str) else None
            seed = row_seed(self.arguments.seed, row.id)
            rows[index] = {"id": row.id, "text": text, "language": row.language, "speaker": row.speaker, "seed": seed}
            try:
                requests[self._request(row, seed)] = rows[index]
            except ROW_ERRORS as error:
                rows[index]["error"] = str(error)
                on_row()
        with ThreadPoolExecutor(1) as codec:  # decodes finished rows while others are generated
            results = []
            for request in SpeechEngine(model, self.arguments.batch_size).run(requests):
                codes = processor.speech_codes(request.token_ids)
                results.append((requests[request], codes, codec.submit(self._decode, codes)))
                on_row()
            for cells, codes, future in results:
                audio, cells["seconds"] = future.result()
                cells |= {"codes": codes, "audio": {"bytes": audio, "path": f"{cells['id']}.flac"}}
        self.store.write(shard, [rows[index] for index in indices])
        return len(requests), len(rows) - len(requests)

    def _request(self, row: BatchRow, seed: int) -> SpeechRequest:
        arguments = self.arguments
        model, processor = self._model_and_processor
        inputs = processor(
            text=[row.text],
            language=row.language or arguments.language,
            duration=row.duration_seconds,
            speed=1.0 if row.duration_seconds is not None else arguments.speed,
            normalize=arguments.normalize,
            lexicon=self._lexicon,
            **self.voices.resolve(row),
        )
        if row.duration_seconds is None:
            check_estimated_duration(int(inputs["num_frames"][0]), processor.frame_rate, arguments.speed)
        (request,) = speech_requests(model, **inputs, seed=seed, **arguments.sampling)
        request.plan(model)  # raises an error for a too long row before generation starts
        return request

    def _decode(self, codes: list[int]) -> tuple[bytes | None, float]:
        """Returns the content of a FLAC file (None without audio output) and the duration in seconds."""
        _, processor = self._model_and_processor
        if "audio" not in self.arguments.contents:
            return None, len(codes) / processor.frame_rate
        windows = StreamWindows() if len(codes) > MAX_WHOLE_DECODE_SECONDS * processor.frame_rate else None
        (waveform,) = processor.batch_decode([codes], windows=windows)
        rate = int(processor.codec.sampling_rate)
        return encode_audio(waveform, rate, "flac", watermark=self.arguments.watermark), len(waveform) / rate
