"""Plots of training curves."""

import json
from pathlib import Path

from ..evaluation.plots import new_figure


PICTURE = "curves.png"
PANELS = [
    ("loss, nats per code", {"loss": "training", "eval_loss": "held out"}),
    ("text gap, nats per code", {"eval_text_gap": "held out"}),
    ("word error rate", {"eval_wer": "held out"}),
    ("duration error", {"eval_duration_error": "held out"}),
]
CODEC_PANEL = ("codec", {"mel": "log mel", "text": "text, nats per token"})


def draw_curves(log_history: list[dict], picture: Path, codec_run: Path | None = None) -> bool:
    """
    Plots the metrics of [`PANELS`] in a Trainer log over the steps, and the losses of codec training.

    Args:
        log_history (`list[dict]`): from `trainer_state.json`.
        picture (`Path`): PNG file to write.
        codec_run (`Path`, *optional*): output folder of `training/train_codec.py`.

    Returns:
        `bool`: whether there was anything to plot.

    Raises:
        ImportError: if matplotlib is missing.
        FileNotFoundError: if `codec_run` has no `losses.jsonl`.
    """
    logs = [(title, names, log_history) for title, names in PANELS]
    if codec_run is not None:
        lines = (codec_run / "losses.jsonl").read_text(encoding="utf-8").splitlines()
        logs.append((*CODEC_PANEL, [json.loads(line) for line in lines]))
    panels = []
    for title, names, log in logs:
        curves = {label: [(entry["step"], entry[key]) for entry in log if key in entry] for key, label in names.items()}
        curves = {label: points for label, points in curves.items() if points}
        if any(len(points) > 1 for points in curves.values()):
            panels.append((title, curves))
    if not panels:
        return False
    figure = new_figure(3.4 * len(panels))
    for panel, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for label, points in curves.items():
            panel.plot(*zip(*points, strict=True), marker="." if len(points) < 20 else None, label=label)
        panel.set(title=title, xlabel="step")
        panel.set_ylim(bottom=0)
        panel.legend(fontsize="small")
    figure.savefig(picture, dpi=80)
    return True


__all__ = ["PICTURE", "draw_curves"]
