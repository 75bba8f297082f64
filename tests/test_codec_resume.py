"""Interrupted codec training resumes with the same weights, averages and log as an uninterrupted run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from codec_runs import DISCRIMINATORS, options, read_log, save_recordings, train
from safetensors.torch import load_file

from t5gemma_tts.codec_training import trainer
from training.train_codec import main


ROOT = Path(__file__).parents[1]
STEPS = 8
RUN = {"max_steps": STEPS, "save_steps": 2, "logging_steps": 3, "eval_steps": 3, **DISCRIMINATORS}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return save_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def uninterrupted(recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    train(recordings, folder, **RUN)
    return folder


def assert_same_runs(one: Path, other: Path) -> None:
    last = f"checkpoint-{STEPS}"
    for name in ("model", f"{last}/model", f"{last}/average", f"{last}/discriminators"):
        ours, theirs = load_file(one / f"{name}.safetensors"), load_file(other / f"{name}.safetensors")
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items()), name
    logs = [[{k: v for k, v in line.items() if k != "seconds_per_step"} for line in read_log(f)] for f in (one, other)]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("at_step", [5, 7])
def test_interrupted_run_ends_the_same(uninterrupted, recordings, tmp_path, monkeypatch, at_step):
    step = trainer.CodecTrainer._train_step

    def interrupted(run):
        if run.step == at_step:
            raise KeyboardInterrupt
        step(run)

    monkeypatch.setattr(trainer.CodecTrainer, "_train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(recordings, tmp_path / "run", **RUN)
    monkeypatch.undo()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    torch.manual_seed(12345)
    train(recordings, tmp_path / "run", resume=True, **RUN)
    assert_same_runs(uninterrupted, tmp_path / "run")


def test_resume_error_for_other_options(uninterrupted, recordings):
    with pytest.raises(ValueError, match="learning_rate: 0.003 before, 0.1 now"):
        train(recordings, uninterrupted, resume=True, **RUN, **{"learning_rate": 0.1})


def test_checkpoints_are_limited_and_finished_runs_stay(uninterrupted, recordings):
    assert sorted(path.name for path in uninterrupted.glob("checkpoint-*")) == ["checkpoint-6", "checkpoint-8"]
    before = (uninterrupted / "model.safetensors").read_bytes()
    train(recordings, uninterrupted, resume=True, **RUN)
    assert (uninterrupted / "model.safetensors").read_bytes() == before


def test_steps_without_finite_gradients_are_skipped_and_counted(recordings, tmp_path, monkeypatch):
    loss = trainer.SpectralLoss.forward

    def nan_at_times(self, audio, target):
        losses = loss(self, audio, target)
        return {name: value * float("nan") for name, value in losses.items()} if audio.requires_grad else losses

    monkeypatch.setattr(trainer.SpectralLoss, "forward", nan_at_times)
    with pytest.raises(RuntimeError, match="2 steps had NaN"):
        train(recordings, tmp_path / "run", max_skipped_steps=2)


@pytest.mark.slow
def test_killed_run_ends_the_same(uninterrupted, recordings, tmp_path):
    """Sends SIGKILL at three moments of the run."""
    output = tmp_path / "run"
    command = [sys.executable, str(ROOT / "training" / "train_codec.py")]
    command += options(recordings, output, resume=True, **RUN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for delay in (0.0, 0.15, 0.3):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = len(list(output.glob("checkpoint-*")))
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(output.glob("checkpoint-*"))) > seen or seen == 2:
                time.sleep(delay)
                break
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
    main(options(recordings, output, resume=True, **RUN))
    assert_same_runs(uninterrupted, output)
    assert json.loads((output / f"checkpoint-{STEPS}" / "state.json").read_text())["step"] == STEPS


@pytest.mark.slow
def test_two_processes_agree(recordings, tmp_path):
    """Each process draws its own segments; gradients are averaged, so that both have the same weights."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command += [str(ROOT / "training" / "train_codec.py")]
    command += options(recordings, tmp_path / "run", resume=True, **{**RUN, "max_steps": 4})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    for _ in range(2):  # the second finds a finished run, whose checkpoint is of two processes
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert finished.returncode == 0, finished.stderr[-3000:]
    assert [line["step"] for line in read_log(tmp_path / "run") if "loss" in line] == [3, 4]
    assert len(list((tmp_path / "run" / "checkpoint-4").glob("random-*.pt"))) == 2
    with pytest.raises(ValueError, match="2 processes"):
        main(options(recordings, tmp_path / "run", resume=True, **{**RUN, "max_steps": 4}))
