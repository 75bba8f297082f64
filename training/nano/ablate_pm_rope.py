"""Ablation of Progress-Monitoring RoPE: speaks held-out sentences at several durations, with and without it.

    python training/nano/ablate_pm_rope.py MODEL --asr WHISPER --output FOLDER [--corpus CORPUS]

PM-RoPE is disabled at inference in the encoder, self-attention and cross-attention: positions become token indices, so
the decoder does not know its progress. With a corpus, durations are those of its recordings; without one, the same
sentences are generated and durations are estimated. Writes `pm_rope.json`, `pm_rope.md` and `pm_rope.png`.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone works without installation

import numpy as np  # noqa: E402

from t5gemma_tts import T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration  # noqa: E402
from t5gemma_tts.cli.command import command  # noqa: E402
from t5gemma_tts.evaluation.generation import SpeechGenerator  # noqa: E402
from t5gemma_tts.evaluation.plots import new_figure  # noqa: E402
from t5gemma_tts.evaluation.statistics import TOLERANCE  # noqa: E402
from t5gemma_tts.evaluation.test_lists import TestItem, read_test_list  # noqa: E402
from t5gemma_tts.evaluation.text_errors import count_errors, error_rate  # noqa: E402
from t5gemma_tts.evaluation.transcription import load_recognizer  # noqa: E402
from t5gemma_tts.loading import load_processor  # noqa: E402
from t5gemma_tts.model.duration import estimate_duration  # noqa: E402
from t5gemma_tts.preparation.splitting import VALIDATION  # noqa: E402
from training.nano.sentences import plan_utterances  # noqa: E402


LANGUAGE = "en"
LENGTH_RATIOS = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
VARIANTS = {"with": True, "without": False}


def held_out_sentences(corpus: Path | None, speaker: str, limit: int | None) -> list[TestItem]:
    """
    Returns the held-out sentences with the durations of their recordings, or with estimates if there is no corpus.

    Raises:
        ValueError: if the corpus has no sentences of the speaker.
    """
    if corpus is not None:
        return read_test_list(corpus, VALIDATION, speaker, limit=limit, recorded_lengths=True)
    plan = plan_utterances([speaker], num_sentences=1)  # held-out sentences do not depend on the training sentences
    held_out = [utterance for utterance in plan if utterance.split == VALIDATION][:limit]
    return [TestItem(item.id, item.text, LANGUAGE, estimate_duration(item.text, LANGUAGE)) for item in held_out]


def measure(generator: SpeechGenerator, recognize, sentences: list[TestItem], ratio: float) -> dict[str, float]:
    """
    Speaks sentences at `ratio` times their durations.

    Returns:
        `dict`: word and character error rates (fractions, which can exceed 1), the mean relative error of the duration,
        the fraction of errors up to `TOLERANCE`, quartiles of spoken / natural duration, and the number of outputs
        without an end token.
    """
    items = [dataclasses.replace(item, duration_seconds=ratio * item.duration_seconds) for item in sentences]
    spoken = generator.generate(items)
    rate = generator.sampling_rate
    transcripts = [recognize(speech.waveform, rate) if len(speech.waveform) else "" for speech in spoken]
    counts = [
        count_errors(item.text, transcript, LANGUAGE) for item, transcript in zip(items, transcripts, strict=True)
    ]
    ratios = np.array(
        [len(speech.waveform) / rate / item.duration_seconds for speech, item in zip(spoken, items, strict=True)]
    )
    return {
        "wer": error_rate(counts),
        "cer": error_rate(counts, "characters"),
        "mean_absolute_error": float(np.abs(ratios - 1).mean()),
        "within_5_percent": float((np.abs(ratios - 1) <= TOLERANCE).mean()),
        "spoken_ratio_quartiles": np.quantile(ratio * ratios, (0.25, 0.5, 0.75)).tolist(),
        "endless": sum(not speech.ended for speech in spoken),
    }


def ablate(
    name: str, corpus: Path | None, recognize, speaker: str, limit: int | None, ratios=LENGTH_RATIOS, seed: int = 0
) -> dict:
    """
    Measures a checkpoint with and without PM-RoPE at several durations.

    Args:
        name (`str`): Hub name or folder of a checkpoint with PM-RoPE.
        corpus (`Path`, *optional*): Folder of a corpus.
        recognize (callable): Speech recognition from `load_recognizer`.
        speaker (`str`): Speaker whose held-out sentences are used.
        limit (`int`, *optional*): Maximum number of sentences.
        ratios: Ratios of requested and natural duration.
        seed (`int`): Seed of sampling.

    Returns:
        `dict`: the content of `pm_rope.json`.

    Raises:
        ValueError: if the model has no PM-RoPE, or the corpus has no sentences of the speaker.
    """
    if not T5GemmaTTSConfig.from_pretrained(name).use_pm_rope:
        raise ValueError(f"{name!r} was trained without PM-RoPE (`use_pm_rope` is False), so it cannot be disabled.")
    processor = load_processor(name, codec_device="cpu")
    results = {}
    for variant, use_pm_rope in VARIANTS.items():
        model = T5GemmaTTSForConditionalGeneration.from_pretrained(name, dtype="float32", use_pm_rope=use_pm_rope)
        generator = SpeechGenerator(model, processor, batch_size=20, seed=seed)
        sentences = held_out_sentences(corpus, speaker, limit)
        results[variant] = {}
        for ratio in ratios:
            results[variant][f"{ratio:g}"] = figures = measure(generator, recognize, sentences, ratio)
            print(f"{variant} PM-RoPE, x {ratio:g}: {json.dumps(figures)}", file=sys.stderr, flush=True)
    return {
        "sentences": len(sentences),
        "lengths": "estimated" if corpus is None else "recordings",
        "seed": seed,
        "pm_rope": results,
    }


def as_markdown(results: dict) -> str:
    source = {"estimated": "the estimated duration", "recordings": "the recording's duration"}[results["lengths"]]
    both = [results["pm_rope"][variant] for variant in VARIANTS]
    lines = [
        "### Other durations, with and without PM-RoPE",
        "",
        f"{results['sentences']} held-out sentences at multiples of {source}. Without: PM-RoPE is off at inference.",
        "",
        "| duration | word error rate, with | without | character error rate, with | without | duration within 5 %, "
        "with | without | duration error, with | without |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for ratio in both[0]:
        cells = [
            f"{100 * figures[ratio][key]:.1f} %"
            for key in ("wer", "cer", "within_5_percent", "mean_absolute_error")
            for figures in both
        ]
        lines.append(f"| x {ratio} | {' | '.join(cells)} |")
    caption = "Word error rate and spoken duration against the requested duration, with and without PM-RoPE"
    return "\n".join([*lines, "", f"![{caption}](pm_rope.png)", ""])


def draw(results: dict, picture: Path) -> None:
    """
    Plots word error rate and spoken duration against the requested duration, and saves the plot to `picture`.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    figure = new_figure()
    error_axes, duration_axes = figure.subplots(1, 2)
    for variant, color in zip(VARIANTS, ("tab:blue", "tab:red"), strict=True):
        figures = results["pm_rope"][variant]
        ratios = [float(ratio) for ratio in figures]
        error_axes.plot(
            ratios, [metrics["wer"] for metrics in figures.values()], "o-", color=color, label=f"{variant} PM-RoPE"
        )
        low, middle, high = zip(*(metrics["spoken_ratio_quartiles"] for metrics in figures.values()), strict=True)
        duration_axes.plot(ratios, middle, "o-", color=color, label=f"{variant} PM-RoPE, median")
        duration_axes.fill_between(ratios, low, high, color=color, alpha=0.2, linewidth=0)
    duration_axes.plot(ratios, ratios, ":", color="grey", label="requested")
    error_axes.set(title="word error rate", xlabel="requested / natural duration")
    error_axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    duration_axes.set(title="spoken / natural duration", xlabel="requested / natural duration")
    for axes in (error_axes, duration_axes):
        axes.set_ylim(bottom=0)
        axes.legend(fontsize="small")
    figure.savefig(picture, dpi=90)


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="checkpoint")
    parser.add_argument("--asr", required=True, help="speech recognition: folder of a CTranslate2 Whisper, or Hub name")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="output folder")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="corpus that training/nano/corpus.py generated")
    parser.add_argument("--speaker", default="hibari", help="speaker of the sentences (default: hibari)")
    parser.add_argument("--limit", type=int, help="maximum number of sentences")
    parser.add_argument(
        "--ratios", type=float, nargs="+", default=LENGTH_RATIOS, help="ratios of requested and natural duration"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    if not all(0 < ratio < float("inf") for ratio in arguments.ratios):
        parser.error(f"--ratios must be above 0, got {arguments.ratios}")
    if arguments.limit is not None and arguments.limit < 1:
        parser.error(f"--limit must be at least 1, got {arguments.limit}")
    recognize = load_recognizer(arguments.asr, LANGUAGE)
    results = ablate(
        arguments.model,
        arguments.corpus,
        recognize,
        arguments.speaker,
        arguments.limit,
        arguments.ratios,
        arguments.seed,
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    draw(results, arguments.output / "pm_rope.png")
    text = as_markdown(results)
    (arguments.output / "pm_rope.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (arguments.output / "pm_rope.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
