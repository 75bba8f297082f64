"""Interrupted training resumes exactly, and two processes give the results of one. Each run is a process."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from speech_data import save_prepared


ROOT = Path(__file__).parents[1]
STEPS = 8


def command(tiny_checkpoint: Path, data: Path, output: Path, *options: str, processes: int = 1) -> list[str]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
    return [
        *launcher,
        str(ROOT / "training" / "train.py"),
        *("--model", str(tiny_checkpoint), "--datasets", str(data), "--output_dir", str(output)),
        *("--use_cpu", "true", "--report_to", "none", "--disable_tqdm", "true", "--logging_steps", "1"),
        *("--max_steps", str(STEPS), "--save_steps", "2", "--max_tokens_per_batch", "800"),
        *("--learning_rate", "1e-3", "--prompt_min_seconds", "0.2", "--eval_strategy", "steps", "--eval_steps", "3"),
        *(("--ddp_backend", "gloo") if processes > 1 else ()),
        *options,
    ]


def environment() -> dict:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def run(arguments: list[str]) -> str:
    finished = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=400)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


def run_and_kill(arguments: list[str], output: Path, at_step: int, delay_seconds: float) -> None:
    """Kills the process group with SIGKILL shortly after a checkpoint of at least `at_step` exists."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), start_new_session=True
    )
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        saved = [int(path.name.split("-")[1]) for path in output.glob("checkpoint-*")]
        if max(saved, default=0) >= at_step:
            time.sleep(delay_seconds)
            break
        time.sleep(0.005)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def same_weights(one: Path, other: Path) -> bool:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def check_resume(tmp_path, tiny_checkpoint, kills, processes=1, options=()):
    data = save_prepared(tmp_path / "data", count=60)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(command(tiny_checkpoint, data, whole, *options, processes=processes))
    generator = random.Random(1)
    for number, at_step in enumerate(kills):
        resumed = ("--resume_from_checkpoint", "true") if number else ()
        arguments = command(tiny_checkpoint, data, broken, *options, *resumed, processes=processes)
        run_and_kill(arguments, broken, at_step, generator.random() * 0.05)
    assert not (broken / "model.safetensors").exists()  # it was killed before the end
    run(command(tiny_checkpoint, data, broken, *options, "--resume_from_checkpoint", "true", processes=processes))
    assert same_weights(whole, broken)


def test_killed_run_resumes_exactly(tmp_path, tiny_checkpoint):
    check_resume(tmp_path, tiny_checkpoint, kills=[2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--gradient_accumulation_steps", "2"),
        ("--optim", "scaled_adam", "--learning_rate", "0.03"),
        ("--lr_scheduler_type", "cosine", "--warmup_steps", "3", "--weight_decay", "0.01"),
    ],
    ids=["accumulation", "scaled_adam", "cosine"],
)
def test_killed_several_times(tmp_path, tiny_checkpoint, options):
    check_resume(tmp_path, tiny_checkpoint, kills=[2, 2, 4, 6], options=options)


@pytest.mark.slow
def test_two_processes_killed(tmp_path, tiny_checkpoint):
    check_resume(tmp_path, tiny_checkpoint, kills=[2, 6], processes=2)


def test_two_processes_are_one(tmp_path, tiny_checkpoint):
    """In each step, two ranks have the two batches that one process accumulates."""
    data = save_prepared(tmp_path / "data", count=60)
    one, two = tmp_path / "one", tmp_path / "two"
    accumulate = ("--gradient_accumulation_steps", "2", "--eval_strategy", "no", "--save_strategy", "no")
    alone = run(command(tiny_checkpoint, data, one, *accumulate, "--batch_group_size", "2"))
    together = run(command(tiny_checkpoint, data, two, *accumulate[2:], processes=2))

    def losses(output: str) -> list[float]:
        return [float(line.split("'loss': '")[1].split("'")[0]) for line in output.splitlines() if "'loss': '" in line]

    assert len(losses(alone)) == STEPS
    assert losses(together) == pytest.approx(losses(alone), rel=1e-3)  # printed with four digits
    first, second = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=1e-5)
