"""Runs of `train.py`: options, cards, logs, uploads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import DatasetDict, Features, List, Value
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load_file
from speech_data import FEATURES, save_prepared, speech_rows
from trainers import make_trainer

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from t5gemma_tts.model_cards.build import build_card
from t5gemma_tts.model_cards.build import main as build_main
from t5gemma_tts.training.batching import NO_PROMPT
from t5gemma_tts.training.dataset import SpeechDataset
from t5gemma_tts.training.eden import Eden
from t5gemma_tts.training.train import main as train


def run(folder: Path, tiny_checkpoint: Path, **options) -> Path:
    recipe = {
        "model": str(tiny_checkpoint),
        "datasets": [str(save_prepared(folder / "data", 40))],
        "output_dir": str(folder / "run"),
        "max_steps": 3,
        "use_cpu": True,
        "report_to": [],
        "max_tokens_per_batch": 1500,
        "learning_rate": 1e-3,
        "prompt_min_seconds": 0.2,
        "eval_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | options))
    train([str(folder / "recipe.yaml")])
    return folder / "run"


def changed_weights(before: Path, after: Path) -> set[str]:
    old, new = load_file(before / "model.safetensors"), load_file(after / "model.safetensors")
    assert old.keys() == new.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}


def test_frozen_backbone(tmp_path, tiny_checkpoint):
    changed = changed_weights(tiny_checkpoint, run(tmp_path, tiny_checkpoint, freeze_backbone=True))
    assert changed and all("audio_head" in name or "decoder.embed_tokens" in name for name in changed)


@pytest.mark.parametrize(
    "options",
    [{"bf16": True}, {"activation_checkpointing": True}, {"attn_implementation": "eager"}, {"eos_loss_weight": 3.0}],
    ids=lambda options: next(iter(options)),
)
def test_variants_of_full_training(tmp_path, tiny_checkpoint, options):
    output = run(tmp_path, tiny_checkpoint, **options)
    assert len(changed_weights(tiny_checkpoint, output)) > 50
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(output)
    assert model.dtype == torch.float32
    assert model.config.eos_loss_weight == options.get("eos_loss_weight", 1.0)


def test_dora(tmp_path, tiny_checkpoint):
    evaluated = {"eval_strategy": "steps", "eval_steps": 3}
    output = run(tmp_path, tiny_checkpoint, lora_rank=2, use_dora=True, learning_rate=1e-2, **evaluated)
    log = json.loads((output / "trainer_state.json").read_text())["log_history"]
    assert any(0 <= entry.get("eval_attention_offset", -1) <= 0.5 for entry in log)
    weights = load_file(output / "adapter_model.safetensors")
    magnitudes = [name for name in weights if "lora_magnitude_vector" in name]
    assert len(magnitudes) == sum("lora_A" in name for name in weights) > 0
    assert any(weight.abs().sum() > 0 for name, weight in weights.items() if "lora_B" in name)
    # the adapter's card says how to use it
    card = (output / "README.md").read_text()
    assert "merge_lora.py" in card and ModelCard(card).data.library_name == "peft"


@pytest.mark.slow
def test_compiled_training_is_training(tmp_path, tiny_checkpoint):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    plain = load_file(run(tmp_path / "one", tiny_checkpoint) / "model.safetensors")
    options = {"torch_compile": True, "selective_checkpointing": False}
    compiled = load_file(run(tmp_path / "two", tiny_checkpoint, **options) / "model.safetensors")
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, rtol=0, atol=2e-3, msg=name)


def test_card_of_a_run(tmp_path, tiny_checkpoint):
    output = run(tmp_path, tiny_checkpoint, license="apache-2.0", eval_strategy="steps", eval_steps=3)
    card = ModelCard.load(output / "README.md")
    data = card.data.to_dict()
    assert (data["language"], data["license"], data["pipeline_tag"]) == (["en"], "apache-2.0", "text-to-speech")
    assert "base_model" not in data and "datasets" not in data  # local folders mean nothing to readers
    log = json.loads((output / "trainer_state.json").read_text())["log_history"]
    loss = next(entry["eval_loss"] for entry in log if "eval_loss" in entry)
    assert f"| eval loss | {loss:.4g} | 3 |" in card.text
    assert "| learning rate | 0.001 |" in card.text and "| rows | 40 |" in card.text
    assert "| max steps | 3 |" in card.text and "epochs" not in card.text and "lora" not in card.text
    assert str(tmp_path) not in card.content
    codes = json.loads((output / "config.json").read_text())["codebook_size"]
    assert f"| codebook size | {codes} |" in card.text
    # a name on the Hub, given afterwards
    assert build_main([str(output), "--name", "me/voice"]) == 0
    assert 'pipeline("text-to-speech", "me/voice"' in (output / "README.md").read_text()


def test_card_without_a_run(tiny_checkpoint, tmp_path, capsys):
    text = build_card(tiny_checkpoint).content
    assert "## Training" not in text and "## Results" not in text and "Not specified" in text
    assert build_main([str(tmp_path)]) == 1
    assert "neither config.json nor adapter_config.json" in capsys.readouterr().err


def test_push(tmp_path, tiny_checkpoint, monkeypatch):
    uploads = []

    class Repository:
        repo_id = "me/voice"

    def upload_folder(self, **kwargs):
        folder = Path(kwargs["folder_path"])
        uploads.append((kwargs["repo_id"], kwargs["ignore_patterns"], {path.name for path in folder.iterdir()}))

    monkeypatch.setattr(HfApi, "create_repo", lambda self, *args, **kwargs: Repository)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    run(tmp_path, tiny_checkpoint, push_to_hub=True, hub_model_id="me/voice", hub_strategy="end")
    ((repository, ignored, files),) = uploads
    assert repository == "me/voice" and "_*" in ignored
    assert {"config.json", "model.safetensors", "processor_config.json", "codec", "README.md"} <= files
    assert {"modeling_t5gemma_tts.py", "processing_t5gemma_tts.py", "tokenizer.json"} <= files
    recipe = (tmp_path / "run" / "training_recipe.json").read_text()
    assert "hub_token" not in recipe
    assert 'pipeline("text-to-speech", "me/voice"' in (tmp_path / "run" / "README.md").read_text()


def test_tensorboard_gets_figures_and_sound(tmp_path, tiny_checkpoint, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    options = {"report_to": ["tensorboard"], "eval_sentences": ["hello world"], "eval_strategy": "steps"}
    run(tmp_path, tiny_checkpoint, eval_steps=3, **options)
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    wanted = {"loss", "top10_accuracy", "tokens_per_second", "padding_share", "learning_rate"}
    assert {f"train/{name}" for name in wanted} <= scalars
    assert {"eval/loss", "eval/duration_error"} <= scalars
    (sound,) = events.Audio("spoken/0")
    assert sound.sample_rate == 16000 and sound.length_frames > 0


def test_best_checkpoint_by_word_error_rate(tmp_path, tiny_checkpoint):
    heard = iter(["nothing", "hello world", "hello there"])
    trainer = make_trainer(
        tiny_checkpoint,
        tmp_path,
        max_steps=3,
        save_strategy="steps",
        save_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        eval_sentences=["Hello, world!"],
        load_best_model_at_end=True,
        metric_for_best_model="eval_wer",
        greater_is_better=False,
    )
    trainer.transcribe = lambda waveform, sampling_rate: next(heard)
    trainer.train()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    assert trainer.state.best_metric == 0
    best = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    assert all(torch.equal(best[name], value) for name, value in trainer.model.state_dict().items() if name in best)


def test_early_stopping(tmp_path, tiny_checkpoint):
    trainer = make_trainer(
        tiny_checkpoint,
        tmp_path,
        max_steps=20,
        learning_rate=0.0,  # nothing gets better
        save_strategy="steps",
        save_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        early_stopping_patience=2,
    )
    trainer.train()
    assert trainer.state.global_step == 3


def test_eden_warms_up_over_an_unrounded_share(tmp_path, tiny_checkpoint):
    trainer = make_trainer(tiny_checkpoint, tmp_path, optim="scaled_adam", warmup_steps=0.3, max_steps=5)
    trainer.create_optimizer_and_scheduler(5)
    assert isinstance(trainer.lr_scheduler, Eden)
    assert trainer.lr_scheduler.warmup_batches == pytest.approx(1.5)


def stretched_rows(count: int):
    """Rows with two speed variants each: every second code, and each code twice."""
    rows = speech_rows(count)
    features = Features({**FEATURES, "codes_stretched": List(List(Value("uint16")))})
    return rows.map(
        lambda row: {"codes_stretched": [row["codes"][::2], np.repeat(row["codes"], 2).tolist()]}, features=features
    )


def test_speed_variants_are_rows(tiny_checkpoint, tmp_path):
    processor = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)
    config = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).config
    datasets = [speech_rows(6, seed=3), stretched_rows(10)]
    dataset = SpeechDataset(datasets, processor.tokenizer, config, stretched=True)
    assert len(dataset) == 6 + 10 + 20
    assert len(SpeechDataset(datasets, processor.tokenizer, config)) == 16
    for number in range(10):
        row, faster, slower = 6 + number, 16 + 2 * number, 17 + 2 * number
        codes = dataset[row]["codes"]
        assert dataset[faster]["codes"].tolist() == codes[::2].tolist()
        assert dataset[slower]["codes"].tolist() == np.repeat(codes, 2).tolist()
        assert dataset.utterances[[row, faster, slower]].tolist() == [row] * 3
        assert dataset.num_frames[slower] == 2 * len(codes)
        assert dataset.texts[slower] == dataset.texts[row] and dataset.speakers[slower] == dataset.speakers[row]
        assert dataset.dataset_of_row[slower] == 1 and "stretched" in dataset.name(slower)
    trainer = make_trainer(tiny_checkpoint, tmp_path)
    trainer.prompt_options.prompt_probability = 1.0
    prompts_seen = 0
    for epoch in range(5):
        for rows, prompts in trainer._sampler(dataset, training=True).plan(epoch):
            has = prompts != NO_PROMPT
            prompts_seen += has.sum()
            assert (prompts[has] < 16).all()  # a variant is no reference
            assert (prompts[has] != dataset.utterances[rows[has]]).all()  # nor is the utterance itself
    assert prompts_seen > 50


def test_train_script_uses_speed_variants(tmp_path, tiny_checkpoint):
    splits = {"train": stretched_rows(20), "validation": speech_rows(4)}
    DatasetDict(splits).save_to_disk(tmp_path / "stretched")
    for stretched, count in ((True, 60), (False, 20)):
        (tmp_path / str(count)).mkdir()
        output = run(
            tmp_path / str(count), tiny_checkpoint, datasets=[str(tmp_path / "stretched")], stretched=stretched
        )
        assert json.loads((output / "training_recipe.json").read_text())["num_rows"] == count
