"""Writes the model card of the packed small voice, with its curves and a few sounds.

    python training/nano/card.py FOLDER --run RUN --codec-run CODEC --corpus CORPUS \\
        --evaluation evaluation.json --codec-evaluation codec.json --audio FOLDER_OF_WAVS

Figures come from the files that the stages before have written; nothing is measured here.
"""

import argparse
import csv
import json
import math
import shutil
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone works without installation

from huggingface_hub import ModelCard, ModelCardData  # noqa: E402
from safetensors import safe_open  # noqa: E402

from training.data_preparation.splitting import VALIDATION  # noqa: E402
from training.nano.sentences import UNSEEN_PAIRS  # noqa: E402


TEMPLATE = Path(__file__).with_name("card.md")
KINDS = {VALIDATION: "held-out sentences", UNSEEN_PAIRS: "sentences with an unseen pair"}
SAMPLES_OF_A_KIND = 3
LARGEST_SAMPLES = 1_000_000  # bytes
SHOWN = ["learning_rate", "max_steps", "max_tokens_per_batch", "audio_mask_row_probability", "guided_attention_tokens"]


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def number_of_weights(file: Path) -> int:
    with safe_open(file, "np") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
    return sum(map(math.prod, shapes))


def draw_curves(run: Path, codec_run: Path, picture: Path) -> None:
    """
    Draws the speech model's losses and text gap, and the codec's losses, over their steps.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the curves need `pip install matplotlib`.") from error
    history = json.loads((run / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    codec = [json.loads(line) for line in (codec_run / "losses.jsonl").read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    curves = [
        (panels[0], history, {"loss": "training", "eval_loss": "held out"}, "loss, nats per code"),
        (panels[1], history, {"eval_text_gap": "held out"}, "text gap, nats per code"),
        (panels[2], codec, {"mel": "log mel", "text": "text, nats per token"}, "codec"),
    ]
    for panel, log, names, title in curves:
        for key, name in names.items():
            points = [(entry["step"], entry[key]) for entry in log if key in entry]
            if points:
                panel.plot(*zip(*points, strict=True), label=name)
        panel.set(title=title, xlabel="step")
        panel.set_ylim(bottom=0)
        panel.legend(fontsize="small")
    panels[2].set_ylim(0, 2)
    figure.savefig(picture, dpi=80)


def copy_samples(folder: Path, audio: Path, corpus: Path, evaluation: dict) -> list[dict]:
    """
    The first sentences of each kind.

    Raises:
        FileNotFoundError: if `audio` lacks one of them.
        ValueError: if they are too large to come with a card.
    """
    folder.mkdir()
    samples, size = [], 0
    with open(corpus / "metadata.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for split, kind in KINDS.items():
        heard = {item["text"]: item["heard"] for item in evaluation[split]["heard"]}
        chosen = [row for row in rows if row["split"] == split and (audio / f"{row['id']}.wav").is_file()]
        if not chosen:
            raise FileNotFoundError(f"{str(audio)!r} has no sound of {kind}.")
        for row in chosen[:SAMPLES_OF_A_KIND]:
            name = f"{row['id']}.wav"
            shutil.copyfile(audio / name, folder / name)
            size += (folder / name).stat().st_size
            samples.append({"file": name, "kind": kind, "text": row["text"], "heard": heard.get(row["text"])})
    if size > LARGEST_SAMPLES:
        raise ValueError(f"the samples have {size} bytes; a card takes {LARGEST_SAMPLES}.")
    return samples


def write_card(
    folder: Path, run: Path, codec_run: Path, corpus: Path, evaluation: dict, codec: dict, audio: Path, license: str
) -> None:
    """
    Writes `README.md`, `curves.png` and `audio/` into a packed checkpoint.

    Args:
        folder (`Path`): as `training/nano/package.py` made it.
        run, codec_run (`Path`): where speech model and codec were trained.
        corpus (`Path`): folder of the corpus.
        evaluation, codec (`dict`): what `training/nano/evaluate.py` and `training/evaluate_codec.py` wrote.
        audio (`Path`): what the former saved as sound.
        license (`str`): Hub identifier.

    Raises:
        FileExistsError: if the checkpoint has samples already.
        FileNotFoundError, KeyError: if something is missing.
    """
    about = json.loads((corpus / "corpus.json").read_text(encoding="utf-8"))
    options = json.loads((run / "training_recipe.json").read_text(encoding="utf-8"))["options"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    samples = copy_samples(folder / "audio", audio, corpus, evaluation)
    draw_curves(run, codec_run, folder / "curves.png")
    voices = evaluation.get("voices")
    card = ModelCard.from_template(
        ModelCardData(
            language="en",
            license=license,
            library_name="transformers",
            pipeline_tag="text-to-speech",
            tags=["t5gemma-tts", "xcodec2"],
        ),
        template_path=str(TEMPLATE),
        model_size=f"{number_of_weights(folder / 'model.safetensors') / 1e6:.1f}",
        codec_size=f"{number_of_weights(folder / 'codec' / 'model.safetensors') / 1e6:.1f}",
        sampling_rate=config.get("sampling_rate", about["sampling_rate"]),
        samples=samples,
        sentences=[
            {
                "name": kind,
                "sentences": evaluation[split]["sentences"],
                "wer": percent(evaluation[split]["wer"]),
                "recordings": percent(evaluation[split]["wer_recordings"]),
                "empty": evaluation[split]["empty"],
                "endless": evaluation[split]["endless"],
            }
            for split, kind in KINDS.items()
        ],
        lengths=[
            {"words": words, "wer": percent(rate)} for words, rate in evaluation[VALIDATION]["wer_by_words"].items()
        ],
        durations=[
            {
                "ratio": f"x {ratio}",
                "error": percent(figures["mean_absolute_error"]),
                "within": percent(figures["within_5_percent"]),
                "wer": percent(figures["wer"]),
            }
            for ratio, figures in evaluation.get("lengths", {}).items()
        ],
        voices=voices
        and {
            "cases": voices["cases"],
            "right": percent(voices["right_voice"]),
            "own": f"{voices['similarity_own']:.2f}",
            "other": f"{voices['similarity_other']:.2f}",
            "wer": {name: percent(rate) for name, rate in voices["wer"].items()},
        },
        codec={
            "clips": codec["clips"],
            "wer_codec": percent(codec["wer_codec"]),
            "wer_recording": percent(codec["wer_recording"]),
            "mel": f"{codec['mel']:.3f}",
            "dnsmos": codec.get("overall_codec")
            and f"{codec['overall_codec']:.2f} (recordings {codec['overall_recording']:.2f})",
            "used": percent(codec["codes_used_share"]),
            "codebook_size": codec["codebook_size"],
        },
        training={
            "speech": ", ".join(f"{name} {hours:.1f} h" for name, hours in about["hours"].items()),
            **{name.replace("_", " "): options[name] for name in SHOWN if options.get(name)},
        },
        vocabulary_size=about["vocabulary_size"],
        license=license,
        speech_sources=[
            {"name": name, "license": voice["license"].rstrip("."), "source": voice["source"]}
            for name, voice in about["voices"].items()
        ],
    )
    card.save(folder / "README.md")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="packed checkpoint")
    parser.add_argument("--run", type=Path, required=True, help="folder that training/train.py made")
    parser.add_argument("--codec-run", type=Path, required=True, help="folder that training/train_codec.py made")
    parser.add_argument("--corpus", type=Path, required=True, help="folder that training/nano/corpus.py made")
    parser.add_argument("--evaluation", type=Path, required=True, help="JSON of training/nano/evaluate.py")
    parser.add_argument("--codec-evaluation", type=Path, required=True, help="JSON of training/evaluate_codec.py")
    parser.add_argument(
        "--audio", type=Path, required=True, help="folder that training/nano/evaluate.py saved audio to"
    )
    parser.add_argument("--license", default="mit", help="of the weights (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        write_card(
            arguments.folder,
            arguments.run,
            arguments.codec_run,
            arguments.corpus,
            json.loads(arguments.evaluation.read_text(encoding="utf-8")),
            json.loads(arguments.codec_evaluation.read_text(encoding="utf-8")),
            arguments.audio,
            arguments.license,
        )
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
