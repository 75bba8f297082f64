"""What Progress-Monitoring RoPE is to a trained model: held-out sentences at many lengths, with it and without it.

    python training/nano/ablate_pm_rope.py MODEL --asr WHISPER --output FOLDER [--corpus CORPUS]

It is switched off at inference, in the encoder, in self- and in cross-attention: positions become indices of tokens,
and nothing says how far along the speech is. The sentences come from the corpus with the lengths of its recordings, or
are made anew, the same ones, with estimated lengths. Writes `pm_rope.json`, `pm_rope.md` and `pm_rope.png`.
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
    The corpus' held-out sentences with their recordings' lengths; without a corpus the same ones, with estimates.

    Raises:
        ValueError: if the corpus has none of that speaker.
    """
    if corpus is not None:
        return read_test_list(corpus, VALIDATION, speaker, limit=limit, recorded_lengths=True)
    plan = plan_utterances([speaker], num_sentences=1)  # what is held out does not depend on what is not
    held_out = [utterance for utterance in plan if utterance.split == VALIDATION][:limit]
    return [TestItem(one.id, one.text, LANGUAGE, estimate_duration(one.text, LANGUAGE)) for one in held_out]


def measure(speaker: SpeechGenerator, recognize, sentences: list[TestItem], ratio: float) -> dict[str, float]:
    """
    Speaks sentences at `ratio` times their lengths.

    Returns:
        word and character error rates (shares, above 1 where more is said than asked), the mean of the lengths' errors
        and the share of those up to `TOLERANCE`, quartiles of spoken by natural length, and the number of speeches
        that had to be stopped.
    """
    items = [dataclasses.replace(item, duration_seconds=ratio * item.duration_seconds) for item in sentences]
    spoken = speaker.generate(items)
    rate = speaker.sampling_rate
    heard = [recognize(speech.waveform, rate) if len(speech.waveform) else "" for speech in spoken]
    counts = [count_errors(item.text, said, LANGUAGE) for item, said in zip(items, heard, strict=True)]
    shares = np.array(
        [len(speech.waveform) / rate / item.duration_seconds for speech, item in zip(spoken, items, strict=True)]
    )
    return {
        "wer": error_rate(counts),
        "cer": error_rate(counts, "characters"),
        "mean_absolute_error": float(np.abs(shares - 1).mean()),
        "within_5_percent": float((np.abs(shares - 1) <= TOLERANCE).mean()),
        "spoken_ratio_quartiles": np.quantile(ratio * shares, (0.25, 0.5, 0.75)).tolist(),
        "endless": sum(not speech.ended for speech in spoken),
    }


def ablate(
    name: str, corpus: Path | None, recognize, speaker: str, limit: int | None, ratios=LENGTH_RATIOS, seed: int = 0
) -> dict:
    """
    Args:
        name (`str`): Hub name or folder of a checkpoint with PM-RoPE.
        corpus (`Path` or None), speaker (`str`): folder of a corpus, and whose rows of it.
        recognize (callable): as `load_recognizer` makes.
        limit (`int`, *optional*): only so many sentences.
        ratios: of the sentences' lengths.

    Raises:
        ValueError: for a model without PM-RoPE, or a corpus without the speaker's sentences.
    """
    if not T5GemmaTTSConfig.from_pretrained(name).use_pm_rope:
        raise ValueError(f"{name!r} was made without PM-RoPE (`use_pm_rope` is False): there is nothing to switch off.")
    processor = load_processor(name, codec_device="cpu")
    results = {}
    for variant, use_pm_rope in VARIANTS.items():
        model = T5GemmaTTSForConditionalGeneration.from_pretrained(name, dtype="float32", use_pm_rope=use_pm_rope)
        mouth = SpeechGenerator(model, processor, batch_size=20, seed=seed)
        sentences = held_out_sentences(corpus, speaker, limit)
        results[variant] = {}
        for ratio in ratios:
            results[variant][f"{ratio:g}"] = figures = measure(mouth, recognize, sentences, ratio)
            print(f"{variant} PM-RoPE, x {ratio:g}: {json.dumps(figures)}", file=sys.stderr, flush=True)
    return {
        "sentences": len(sentences),
        "lengths": "estimated" if corpus is None else "recordings",
        "seed": seed,
        "pm_rope": results,
    }


def as_markdown(results: dict) -> str:
    source = {"estimated": "the estimated length", "recordings": "the recording's length"}[results["lengths"]]
    both = [results["pm_rope"][variant] for variant in VARIANTS]
    lines = [
        "### Other lengths, and PM-RoPE switched off",
        "",
        f"{results['sentences']} held-out sentences at shares of {source}; without: PM-RoPE is off at inference.",
        "",
        "| length | word error rate, with | without | character error rate, with | without | duration within 5 %, with "
        "| without | duration error, with | without |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for ratio in both[0]:
        cells = [
            f"{100 * figures[ratio][key]:.1f} %"
            for key in ("wer", "cer", "within_5_percent", "mean_absolute_error")
            for figures in both
        ]
        lines.append(f"| x {ratio} | {' | '.join(cells)} |")
    caption = "Word errors and spoken length over the length that was asked for, with and without PM-RoPE"
    return "\n".join([*lines, "", f"![{caption}](pm_rope.png)", ""])


def draw(results: dict, picture: Path) -> None:
    """
    Raises:
        ImportError: without matplotlib.
    """
    figure = new_figure()
    words, lengths = figure.subplots(1, 2)
    for variant, colour in zip(VARIANTS, ("tab:blue", "tab:red"), strict=True):
        figures = results["pm_rope"][variant]
        ratios = [float(ratio) for ratio in figures]
        words.plot(ratios, [one["wer"] for one in figures.values()], "o-", color=colour, label=f"{variant} PM-RoPE")
        low, middle, high = zip(*(one["spoken_ratio_quartiles"] for one in figures.values()), strict=True)
        lengths.plot(ratios, middle, "o-", color=colour, label=f"{variant} PM-RoPE, median")
        lengths.fill_between(ratios, low, high, color=colour, alpha=0.2, linewidth=0)
    lengths.plot(ratios, ratios, ":", color="grey", label="asked for")
    words.set(title="word error rate", xlabel="length asked for, x natural")
    words.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    lengths.set(title="length spoken, x natural", xlabel="length asked for, x natural")
    for panel in (words, lengths):
        panel.set_ylim(bottom=0)
        panel.legend(fontsize="small")
    figure.savefig(picture, dpi=90)


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="checkpoint")
    parser.add_argument("--asr", required=True, help="speech recognition: folder of a CTranslate2 Whisper, or Hub name")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where figures and picture go")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="that training/nano/corpus.py made")
    parser.add_argument("--speaker", default="hibari", help="whose recordings give the lengths (default: hibari)")
    parser.add_argument("--limit", type=int, help="only so many sentences")
    parser.add_argument("--ratios", type=float, nargs="+", default=LENGTH_RATIOS, help="of the natural lengths")
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
