"""Checks that a training run has learned something, and that its checkpoint has spoken.

    python training/check_run.py RUN_FOLDER SPEECH.wav

Prints the first and the last loss in the logs and the length of the speech. Fails if the loss has not clearly fallen: a
sign that something is broken, no measure of quality.
"""

import argparse
import json
import sys
from pathlib import Path

import soundfile


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without installation

from t5gemma_tts.cli.command import command  # noqa: E402


HIGHEST_RATIO = 0.8


def logged_losses(run: Path) -> list[float]:
    """
    The training losses in the logs of a run, in their order.

    Raises:
        FileNotFoundError: if the folder has no `trainer_state.json`: the run is not there, or has not ended.
        ValueError: if it logged fewer than two losses.
    """
    path = run / "trainer_state.json"
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {str(run)!r}: no run has ended there.")
    losses = [entry["loss"] for entry in json.loads(path.read_text())["log_history"] if "loss" in entry]
    if len(losses) < 2:
        raise ValueError(f"{str(path)!r} has {len(losses)} losses, two are needed: lower `logging_steps`.")
    return losses


def check_run(run: Path, speech: Path, highest_ratio: float = HIGHEST_RATIO) -> str:
    """
    Args:
        run (`Path`): Output folder of `train.py`.
        speech (`Path`): Audio file that its checkpoint has spoken.
        highest_ratio (`float`, *optional*, defaults to 0.8): Of the last loss to the first.

    Returns:
        `str`: one line about both.

    Raises:
        FileNotFoundError: if one of them is not there.
        ValueError: if the loss has not fallen below `highest_ratio` of the first, or nothing was said.
    """
    losses = logged_losses(run)
    if not speech.is_file():
        raise FileNotFoundError(f"no audio file at {str(speech)!r}.")
    seconds = soundfile.info(speech).duration
    report = f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} at last; {speech}: {seconds:.2f} s"
    if not losses[-1] < highest_ratio * losses[0]:  # also when it is not a number
        raise ValueError(f"{report}. The last loss must be below {highest_ratio:g} of the first.")
    if not seconds > 0:
        raise ValueError(f"{report}. Nothing was said.")
    return report


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER", help="output folder of train.py")
    parser.add_argument("speech", type=Path, metavar="SPEECH.wav", help="what its checkpoint has spoken")
    parser.add_argument("--highest-ratio", type=float, default=HIGHEST_RATIO,
                        help=f"of the last loss to the first (default: {HIGHEST_RATIO})")  # fmt: skip
    arguments = parser.parse_args(argv)
    print(check_run(arguments.run, arguments.speech, arguments.highest_ratio))


if __name__ == "__main__":
    sys.exit(main())
