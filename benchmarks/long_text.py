"""A long text with nano: memory, and word errors compared with the same sentences one by one.

    python benchmarks/long_text.py --asr WHISPER [--words 2000] [--json]

The text has nano's held-out sentences, in paragraphs of five. `narrate` speaks it as a whole, and `SpeechEngine` speaks
each sentence by itself, both without a reference. The same speech recognition model transcribes both.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import print_json, report, resident_bytes  # noqa: E402


SEED = 0
WARM_PIECES = 10  # the baseline of the memory is measured after this many pieces


def sentences_of(num_words: int) -> list[str]:
    from t5gemma_tts.preparation.splitting import VALIDATION
    from training.nano.sentences import plan_utterances

    planned = plan_utterances(["hibari"], 1, num_validation=max(200, num_words // 6))
    sentences: list[str] = []
    for text in (one.text for one in planned if one.split == VALIDATION):
        if sum(len(sentence.split()) for sentence in sentences) >= num_words:
            break
        sentences.append(text)
    return sentences


def narrated(model, processor, sentences: list[str], folder: Path) -> tuple[list[Path], dict]:
    """Writes each piece as a file; returns the files, and time and memory."""
    from t5gemma_tts.narration import narrate

    text = "\n".join(" ".join(sentences[start : start + 5]) for start in range(0, len(sentences), 5))
    files, memory, seconds = [], [], 0.0
    start = time.perf_counter()
    for number, sound in enumerate(narrate(model, processor, text, language="en", seed=SEED)):
        files.append(folder / f"{number:05d}.wav")
        processor.save_audio(sound, files[-1])
        seconds += len(sound) / processor.sampling_rate
        memory.append(resident_bytes())
    warm = memory[min(WARM_PIECES, len(memory) - 1)]
    return files, {
        "pieces": len(files),
        "seconds": seconds,
        "seconds_taken": time.perf_counter() - start,
        "megabytes_after_ten_pieces": warm / 1e6,
        "megabytes_at_most": max(memory) / 1e6,
    }


def one_by_one(model, processor, sentences: list[str]) -> list:
    from t5gemma_tts import SpeechEngine, speech_requests

    requests = speech_requests(model, **processor(text=sentences, language="en"), seed=SEED)
    for _ in SpeechEngine(model).run(requests):
        pass
    return processor.batch_decode([processor.speech_codes(request.token_ids) for request in requests])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asr", required=True, help="speech recognition: folder of a CTranslate2 Whisper, or Hub name")
    parser.add_argument("--words", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    from t5gemma_tts.checkpoints import NANO
    from t5gemma_tts.evaluation.text_errors import word_error_rate
    from t5gemma_tts.evaluation.transcription import load_recognizer
    from t5gemma_tts.loading import load_model, load_processor
    from t5gemma_tts.model.audio_reading import load_audio

    torch.set_num_threads(1)
    sentences = sentences_of(arguments.words)
    model, processor = load_model(NANO, "cpu", "float32"), load_processor(NANO, codec_device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        files, figures = narrated(model, processor, sentences, Path(folder))
        recognize = load_recognizer(arguments.asr, "en")
        heard = " ".join(recognize(*load_audio(file)) for file in files)
    alone = [recognize(sound, processor.sampling_rate) for sound in one_by_one(model, processor, sentences)]
    figures |= {
        "words": sum(len(sentence.split()) for sentence in sentences),
        "wer_as_one": word_error_rate([" ".join(sentences)], [heard], "en"),
        "wer_one_by_one": word_error_rate(sentences, alone, "en"),
    }
    if arguments.json:
        print_json(figures)
        return
    report("a long text", [(name, f"{value:.3f}") for name, value in figures.items()], ("", ""))


if __name__ == "__main__":
    main()
