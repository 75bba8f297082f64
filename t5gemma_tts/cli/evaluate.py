"""`t5gemma-tts evaluate`: a model against a test list, or two evaluations side by side."""

from argparse import Namespace
from pathlib import Path

from ..batch.checkpoint_fingerprint import checkpoint_fingerprint
from ..loading import pick_device
from .serve import load


def run(arguments: Namespace) -> None:
    try:
        from t5gemma_tts.evaluation.compare import as_markdown, write_comparison
    except ImportError as error:
        raise ImportError(f'evaluation needs `pip install "t5gemma-tts[eval]"` ({error}).') from error
    if arguments.compare:
        if arguments.list is not None:
            raise ValueError("--compare takes two evaluations and no test list.")
        first, second = arguments.compare
        print(as_markdown(write_comparison(first, second, arguments.output)), end="")
        return
    if arguments.list is None:
        raise ValueError("name a test list, or pass two evaluations with --compare.")
    if arguments.samples < 0:
        raise ValueError(f"--samples must not be negative, got {arguments.samples}.")
    print((Path(evaluate(arguments)) / "evaluation.md").read_text(encoding="utf-8"), end="")


def evaluate(arguments: Namespace) -> str:
    """Runs or finishes the evaluation and returns its folder."""
    from t5gemma_tts.evaluation.dnsmos import load_dnsmos
    from t5gemma_tts.evaluation.generation import SpeechGenerator
    from t5gemma_tts.evaluation.item_metrics import ItemMetrics
    from t5gemma_tts.evaluation.run import evaluate_speech
    from t5gemma_tts.evaluation.similarity import load_speaker_encoder
    from t5gemma_tts.evaluation.test_lists import read_test_list
    from t5gemma_tts.evaluation.transcription import load_recognizer
    from t5gemma_tts.model_cards.build import public_name

    items = read_test_list(
        arguments.list,
        split=arguments.split,
        speaker=arguments.speaker,
        language=arguments.language,
        limit=arguments.limit,
        same_speaker_references=arguments.same_speaker_references,
        reference_seconds=tuple(arguments.reference_seconds),
        recorded_lengths=arguments.recorded_lengths,
    )
    weights = checkpoint_fingerprint(arguments.model)
    about = {
        "model": public_name(arguments.model),
        "weights": weights and weights[:12],
        "codec": public_name(arguments.codec),
        "dtype": arguments.dtype,
        "quantization": arguments.quantization,
        "list": public_name(arguments.list),
        "title": arguments.title or public_name(arguments.list),
        "split": arguments.split,
        "speaker": arguments.speaker,
        "with_references": any(item.reference_audio is not None for item in items),
        "recorded_lengths": arguments.recorded_lengths,
        "asr": public_name(arguments.asr),
        "speaker_encoder": public_name(arguments.speaker_encoder),
        "dnsmos": arguments.dnsmos,
        "skip_recordings": arguments.skip_recordings,
    }
    # these fail fast if something is missing; loading the model takes minutes
    device = pick_device(arguments.codec_device or arguments.device)
    rate_quality = load_dnsmos() if arguments.dnsmos else None
    embed = load_speaker_encoder(arguments.speaker_encoder, device) if arguments.speaker_encoder else None
    recognize = load_recognizer(arguments.asr, arguments.language) if arguments.asr else None
    model, processor = load(arguments)
    sampling = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    sampling = {name: value for name, value in sampling.items() if value is not None}
    batch_size = 1 if arguments.low_vram else arguments.batch_size
    evaluate_speech(
        SpeechGenerator(model, processor, batch_size, arguments.seed, arguments.speed, sampling),
        items,
        ItemMetrics(processor, recognize, embed, rate_quality, skip_recordings=arguments.skip_recordings),
        arguments.output,
        about,
        keep_audio=arguments.keep_audio,
        overwrite=arguments.overwrite,
        num_samples=arguments.samples,
    )
    return arguments.output
