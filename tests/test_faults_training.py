"""Faults in training: helpful errors, and earlier checkpoints stay intact."""

import json
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from faults import cut, overwrite, small_disk, small_files, snapshot
from safetensors.torch import load_file, save_file
from speech_data import save_prepared
from test_resume import command, environment, run, same_weights
from trainers import arguments as make_arguments
from trainers import make_trainer

from t5gemma_tts import T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from t5gemma_tts.training.arguments import DataArguments
from t5gemma_tts.training.dataset import load_prepared
from t5gemma_tts.training.train import last_checkpoint, load_data, load_model_and_processor, parse_arguments
from t5gemma_tts.training.trainer import UNFINISHED_FOLDER


SAVING = {"save_strategy": "steps", "save_steps": 1, "max_steps": 3, "eval_strategy": "no"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_checkpoint):
    """A run of three steps with a checkpoint after each, which tests do not modify."""
    folder = tmp_path_factory.mktemp("finished")
    make_trainer(tiny_checkpoint, folder, **SAVING).train()
    return folder


@pytest.fixture
def interrupted(finished, tmp_path):
    """A copy of the run after two steps."""
    folder = tmp_path / "run"
    for number in (1, 2):
        shutil.copytree(finished / f"checkpoint-{number}", folder / f"checkpoint-{number}")
    return folder


def resume(tiny_checkpoint, folder):
    return make_trainer(tiny_checkpoint, folder, **SAVING).train(resume_from_checkpoint=True)


def assert_refused(tiny_checkpoint, folder, message: str) -> None:
    """Checks twice that resuming fails without a step and without changing files."""
    before = snapshot(folder)
    for _ in range(2):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
            resume(tiny_checkpoint, folder)
        assert "checkpoint-1" in str(caught.value)  # the other checkpoint
        assert snapshot(folder) == before


def test_resumed_run_equals_an_uninterrupted_run(tiny_checkpoint, interrupted, finished):
    resume(tiny_checkpoint, interrupted)
    assert same_weights(interrupted / "checkpoint-3", finished / "checkpoint-3")


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "model.safetensors"]
)
def test_missing_files_in_a_checkpoint(tiny_checkpoint, interrupted, name):
    """Without these files, transformers would start again or give other results."""
    (interrupted / "checkpoint-2" / name).unlink()
    assert_refused(tiny_checkpoint, interrupted, f"checkpoint-2' cannot be resumed: it lacks {name}.")


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "model.safetensors"]
)
def test_truncated_files_in_a_checkpoint(tiny_checkpoint, interrupted, name):
    cut(interrupted / "checkpoint-2" / name)
    assert_refused(tiny_checkpoint, interrupted, "checkpoint-2' is damaged, or belongs to another model")


def test_checkpoint_of_another_model(tiny_checkpoint, interrupted):
    path = interrupted / "checkpoint-2" / "model.safetensors"
    weights = load_file(path)
    removed = weights.pop(next(iter(weights)))
    save_file(weights, path, metadata={"format": "pt"})
    assert removed.numel() > 0
    assert_refused(tiny_checkpoint, interrupted, "1 weights are missing or left over")


def test_checkpoint_that_is_not_there(tiny_checkpoint, interrupted, tmp_path):
    trainer = make_trainer(tiny_checkpoint, interrupted, **SAVING)
    with pytest.raises(FileNotFoundError, match="checkpoint-9' is not a folder"):
        trainer.train(resume_from_checkpoint=str(interrupted / "checkpoint-9"))
    with pytest.raises(FileNotFoundError, match="has no checkpoint to resume from"):
        resume(tiny_checkpoint, tmp_path / "empty")


def test_no_new_run_beside_checkpoints(interrupted):
    arguments = make_arguments(interrupted)
    with pytest.raises(ValueError, match="already has checkpoint-2; pass `resume_from_checkpoint true` to resume it"):
        last_checkpoint(arguments)
    arguments.resume_from_checkpoint = "true"
    assert last_checkpoint(arguments) == str(interrupted / "checkpoint-2")


def test_files_that_cannot_grow(tiny_checkpoint, interrupted, finished):
    """The third checkpoint fails as on a full disk; with more space, the run resumes from the second."""
    before = snapshot(interrupted)
    with (
        small_files(200_000),
        pytest.raises(OSError, match="checkpoint-3 cannot be written .* free some space and resume from the last"),
    ):
        resume(tiny_checkpoint, interrupted)
    assert snapshot(interrupted) == before
    resume(tiny_checkpoint, interrupted)
    assert same_weights(interrupted / "checkpoint-3", finished / "checkpoint-3")


def test_full_disk(tiny_checkpoint, finished, tmp_path):
    """A real full disk, with space added later."""
    size = sum(len(content) for content in snapshot(finished / "checkpoint-1").values())
    output = tmp_path / "disk"
    with small_disk(output, int(2.5 * size)) as resize:
        with pytest.raises(OSError, match="checkpoint-3 cannot be written .* free some space and resume from the last"):
            make_trainer(tiny_checkpoint, output, **SAVING).train()
        assert sorted(path.name for path in output.iterdir()) == ["checkpoint-1", "checkpoint-2"]
        assert snapshot(output / "checkpoint-2").keys() == snapshot(finished / "checkpoint-2").keys()
        assert resize(8 * size)
        resume(tiny_checkpoint, output)
        assert same_weights(output / "checkpoint-3", finished / "checkpoint-3")


@pytest.fixture
def prepared(tmp_path):
    return save_prepared(tmp_path / "data", count=20)


def arrow_file(folder):
    return next((folder / "train").glob("*.arrow"))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_arrow_files(prepared, share):
    cut(arrow_file(prepared), share)
    with pytest.raises(ValueError, match="data' is damaged: "):
        load_prepared(str(prepared), "train")


@pytest.mark.parametrize("name", ["dataset_dict.json", "train/state.json", "train/dataset_info.json"])
def test_truncated_descriptions_of_datasets(prepared, name):
    cut(prepared / name)
    with pytest.raises(ValueError, match="data' is damaged: "):
        load_prepared(str(prepared), "train")


def test_overwritten_arrow_files(prepared):
    """With eight overwritten bytes, loading fails or returns valid rows."""
    whole = arrow_file(prepared).read_bytes()
    outcomes, chance = set(), random.Random(0)
    for _ in range(80):
        overwrite(arrow_file(prepared), chance.randrange(len(whole)), chance.randbytes(8))
        try:
            rows = load_prepared(str(prepared), "train")
            assert len(rows) >= 0 and all(len(codes) < len(whole) for codes in rows["codes"])
            outcomes.add("read")
        except ValueError as error:
            assert "is damaged: " in str(error) or "lacks" in str(error) or "no split" in str(error)
            outcomes.add("refused")
        arrow_file(prepared).write_bytes(whole)
    assert outcomes == {"read", "refused"}


def test_codes_of_another_codebook_in_a_damaged_dataset(prepared, tiny_checkpoint):
    """Codes out of range are detected before the first step."""
    column = load_prepared(str(prepared), "train").data.column("codes").chunks[0]
    codes = column.values.to_numpy()[:8].tobytes()
    path = arrow_file(prepared)
    overwrite(path, path.read_bytes().index(codes), np.full(8, 60000, np.uint16).tobytes())
    processor = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)
    config = T5GemmaTTSConfig.from_pretrained(tiny_checkpoint)
    with pytest.raises(ValueError, match="its codes must be .* up to 60000"):
        load_data(DataArguments(datasets=[str(prepared)]), processor, config, evaluate=False)


def test_tokenizer_of_another_model(tiny_checkpoint, tmp_path):
    """A tokenizer with more entries than the model has embeddings, in the checkpoint or given separately."""
    other = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["🙂"] = len(tokenizer["model"]["vocab"])
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    for options in (["--model", str(other)], ["--model", str(tiny_checkpoint), "--tokenizer", str(other)]):
        arguments, _, _ = parse_arguments([*options, "--datasets", "x", "--output_dir", str(tmp_path / "run")])
        with pytest.raises(ValueError, match="the tokenizer has 261 entries, the model.* only 260"):
            load_model_and_processor(arguments)


def test_truncated_and_missing_shards(tiny_checkpoint, tmp_path):
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint)
    model.save_pretrained(tmp_path, max_shard_size="200kB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    whole = shards[1].read_bytes()
    for share in (0.0, 0.3, 0.99):
        cut(shards[1], share)
        with pytest.raises(ValueError, match="are damaged"):
            T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path)
        shards[1].write_bytes(whole)
    shards[1].unlink()
    with pytest.raises(OSError, match=shards[1].name):
        T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path)


def complete_checkpoints(folder) -> list[str]:
    """Returns the names of all checkpoints and checks that each is complete."""
    names = []
    for path in sorted(folder.glob("checkpoint-*")):
        load_file(path / "model.safetensors")
        torch.load(path / "optimizer.pt", weights_only=True)
        assert json.loads((path / "trainer_state.json").read_text())["global_step"] == int(path.name.split("-")[1])
        names.append(path.name)
    return names


@pytest.mark.slow
def test_killed_while_saving(tmp_path, tiny_checkpoint):
    """Kills the run repeatedly while it saves; final checkpoints are always complete."""
    data = save_prepared(tmp_path / "data", count=60)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = ("--save_steps", "1", "--eval_strategy", "no")
    run(command(tiny_checkpoint, data, whole, *options))
    chance, kills_while_saving = random.Random(0), 0
    for attempt in range(6):
        resumed = ("--resume_from_checkpoint", "true") if attempt else ()
        process = subprocess.Popen(
            command(tiny_checkpoint, data, broken, *options, *resumed),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
        before = len(list(broken.glob("checkpoint-*")))
        while process.poll() is None:
            if len(list(broken.glob("checkpoint-*"))) > before and (broken / UNFINISHED_FOLDER).exists():
                time.sleep(chance.random() * 0.02)
                process.send_signal(signal.SIGKILL)
                kills_while_saving += (broken / UNFINISHED_FOLDER).exists()
                break
            time.sleep(0.0005)
        process.wait()
        assert len(complete_checkpoints(broken)) > before
        if (broken / "model.safetensors").exists():
            break
    assert kills_while_saving >= 2
    run(command(tiny_checkpoint, data, broken, *options, "--resume_from_checkpoint", "true"))
    assert same_weights(whole, broken)
