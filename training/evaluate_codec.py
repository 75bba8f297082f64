"""Evaluates a codec on held-out recordings: spectral losses, codebook use, word error rate and DNSMOS.

python training/evaluate_codec.py --codec runs/nano/codec --data data/nano/corpus --asr WHISPER --dnsmos true
"""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without installation


from t5gemma_tts.codec_training.arguments import option  # noqa: E402
from t5gemma_tts.codec_training.evaluate import evaluate_codec  # noqa: E402
from t5gemma_tts.evaluation.dnsmos import load_dnsmos  # noqa: E402
from t5gemma_tts.evaluation.transcription import load_recognizer  # noqa: E402
from t5gemma_tts.model.xcodec2 import XCodec2  # noqa: E402
from t5gemma_tts.preparation.recordings import select_recordings  # noqa: E402
from t5gemma_tts.recipes import RecipeParser  # noqa: E402


@dataclass
class EvaluateCodecArguments:
    codec: str = option("", "Codec: Hub name or folder.")
    data: list[str] = option([], "Recordings with transcripts: folders or datasets.")
    split: str = option("validation", "Split to evaluate on; rows without a split are included.")
    limit: int | None = option(None, "Maximum number of clips, selected at even spacing.")
    asr: str | None = option(
        None, "Speech recognition model: folder of a CTranslate2 Whisper, or a transformers model."
    )
    language: str = option("en", "Language of the texts.")
    dnsmos: bool = option(False, "Also compute DNSMOS; needs speechmos and onnxruntime.")
    output: str | None = option(
        None, "JSON file for the metrics; a .jsonl file of the same name gets one line per clip."
    )
    save_audio: str | None = option(None, "Folder for recordings and decoded audio as WAV files.")
    device: str = option("cpu", "Device of the codec.")

    def __post_init__(self):
        if not self.codec or not self.data:
            raise ValueError("`codec` and `data` are required.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"`limit` must be at least 1, got {self.limit}.")
        if self.output is not None and not self.output.endswith(".json"):
            raise ValueError(f"`output` must end in .json, got {self.output!r}.")


def main(argv: list[str] | None = None) -> dict:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = RecipeParser([EvaluateCodecArguments], "evaluate_codec.py", __doc__)
    (arguments,) = parser.parse_recipe(sys.argv[1:] if argv is None else argv)
    codec = XCodec2.from_pretrained(arguments.codec, device=arguments.device)
    summary, clips = evaluate_codec(
        codec,
        select_recordings(arguments.data, arguments.split, arguments.limit),
        recognize=load_recognizer(arguments.asr, arguments.language) if arguments.asr else None,
        rate=load_dnsmos() if arguments.dnsmos else None,
        language=arguments.language,
        audio_folder=Path(arguments.save_audio) if arguments.save_audio else None,
    )
    text = json.dumps(summary, indent=2, sort_keys=True) + "\n"
    print(text, end="")
    if arguments.output is not None:
        path = Path(arguments.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        lines = "".join(json.dumps(clip, ensure_ascii=False) + "\n" for clip in clips)
        path.with_suffix(".jsonl").write_text(lines, encoding="utf-8")
    return summary


if __name__ == "__main__":
    main()
