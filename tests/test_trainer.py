"""The trainer: loss, logs, optimizers, skipped steps, checkpoints, adapters."""

import json
import math
from pathlib import Path

import pytest
import torch
from golden import LOSS_RTOL, load_model, parametrize, read_case
from safetensors.torch import load_file
from speech_data import save_prepared, speech_rows
from test_golden_model import training_batch
from torch.profiler import ProfilerActivity, profile
from trainers import arguments, make_trainer

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from t5gemma_tts.preparation.metadata import METADATA_FILE, DatasetMetadata
from t5gemma_tts.training.activation_checkpointing import enable_selective_checkpointing
from t5gemma_tts.training.arguments import DataArguments, ModelArguments
from t5gemma_tts.training.dataset import SpeechCollator, SpeechDataset
from t5gemma_tts.training.merge_lora import merge_adapter
from t5gemma_tts.training.train import add_adapters
from t5gemma_tts.training.train import main as train
from t5gemma_tts.training.trainer import UNFINISHED_FOLDER


@pytest.mark.golden
@pytest.mark.parametrize(**parametrize("b_training"))
def test_golden_losses_through_the_trainer(path, tmp_path, tiny_checkpoint):
    """With recorded batches as one accumulated step, the Trainer's loss is the mean over all target tokens."""
    case, inputs, _ = read_case(path)
    model = load_model(path, case)
    trainer = make_trainer(tiny_checkpoint, tmp_path)
    trainer.model = trainer.model_wrapped = model
    enable_selective_checkpointing(model.train())
    for variant in case["variants"]:
        if variant["eos"] != model.config.codebook_size + 3 or variant["eog_weight"] != 1:
            continue  # other end tokens and weights are compared with the model alone
        model.config.no_loss_on_prefix = bool(variant["no_loss_on_prefix"])
        batch = training_batch(inputs, model.config)
        batch.setdefault("decoder_attention_mask", (batch["labels"] != -100).long())
        count = variant["effective_ntoken"]
        loss = trainer.compute_loss(model, batch, num_items_in_batch=torch.tensor(count))
        # the original's mean leaves separators out of the divisor, but multiplies by all kept targets
        separators = (batch["labels"] == model.config.audio_separator_token_id).sum().item()
        counted = count - (0 if variant["no_loss_on_prefix"] else separators)
        assert loss.item() == pytest.approx(variant["loss"] / count * counted / count, rel=LOSS_RTOL)


def test_collated_batch(tiny_checkpoint):
    processor = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)
    config = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).config
    dataset = SpeechDataset([speech_rows(4)], processor.tokenizer, config)
    batch = SpeechCollator(config)([dataset[(0, 2)], dataset[1]])
    text = [len(dataset.input_ids[row]) for row in range(3)]
    frames = dataset.num_frames.tolist()
    assert batch["attention_mask"].sum(-1).tolist() == [text[0] + text[2] + 2, text[1] + 1]
    assert batch["decoder_attention_mask"].sum(-1).tolist() == [frames[0] + frames[2] + 2, frames[1] + 1]
    assert (batch["labels"] != -100).sum(-1).tolist() == [frames[0] + 1, frames[1] + 1]
    row = batch["decoder_input_ids"][0, : frames[0] + frames[2] + 2].tolist()
    assert row[0] == config.decoder_start_token_id and row[frames[2] + 1] == config.audio_separator_token_id
    assert row[frames[2] + 2 :] == dataset[0]["codes"].tolist()
    labels = batch["labels"][1][: frames[1] + 1].tolist()
    assert labels == dataset[1]["codes"].tolist() + [config.eos_token_id]
    # what the processor makes for speaking is what training shows
    inputs = processor(text=dataset.texts[1], duration=1.0)
    assert inputs["input_ids"][0].tolist() == batch["input_ids"][1, : text[1] + 1].tolist()


@pytest.mark.parametrize("optim", ["adamw_torch", "scaled_adam"])
def test_learns_and_logs(optim, tmp_path, tiny_checkpoint):
    rate = 3e-3 if optim == "adamw_torch" else 0.03
    trainer = make_trainer(tiny_checkpoint, tmp_path, optim=optim, learning_rate=rate, max_steps=30, warmup_steps=0)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 30
    assert logs[-1]["loss"] < logs[0]["loss"] - 1.0
    for name in ("grad_norm", "learning_rate", "top10_accuracy", "tokens_per_second", "padding_share"):
        assert math.isfinite(logs[-1][name])
    assert 0 <= logs[-1]["padding_share"] < 0.5
    assert logs[-1]["top10_accuracy"] > logs[0]["top10_accuracy"]
    if optim == "scaled_adam":
        assert type(trainer.lr_scheduler).__name__ == "Eden" and trainer.args.max_grad_norm == 0


def test_selective_checkpointing_keeps_less_and_changes_nothing(tiny_checkpoint):
    processor = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)
    found = {}
    for selective in (False, True):
        model = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).train()
        if selective:
            enable_selective_checkpointing(model)
        dataset = SpeechDataset([speech_rows(4)], processor.tokenizer, model.config)
        batch = SpeechCollator(model.config)([dataset[(0, 2)], dataset[1]])
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as forward:
            outputs = model(**batch, skip_logits=True, use_cache=False)
        left = sum(event.self_cpu_memory_usage for event in forward.key_averages())
        outputs.loss.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        found[selective] = outputs.loss, gradients, left
    assert torch.equal(found[False][0], found[True][0])
    assert all(torch.equal(gradient, found[True][1][name]) for name, gradient in found[False][1].items())
    assert found[True][2] < 0.7 * found[False][2]


def test_accumulation_does_not_change_the_loss(tmp_path, tiny_checkpoint):
    """Two accumulated batches give the mean over all tokens, not the mean of two means."""
    trainer = make_trainer(tiny_checkpoint, tmp_path, gradient_accumulation_steps=2, max_steps=1)
    batches = list(trainer.get_train_dataloader())[:2]
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint)
    counts = [(batch["labels"] != -100).sum() for batch in batches]
    with torch.no_grad():
        losses = [model(**batch).loss * count for batch, count in zip(batches, counts, strict=True)]
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx((sum(losses) / sum(counts)).item(), rel=1e-4)


def test_evaluation_speaks(tmp_path, tiny_checkpoint):
    sentences = ["hello world nice", "speech again"]
    heard = iter(["hello world", "speech, again!"] * 2)
    trainer = make_trainer(tiny_checkpoint, tmp_path, eval_sentences=sentences)
    trainer.transcribe = lambda waveform, sampling_rate: next(heard)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    metrics = trainer.evaluate()
    assert torch.equal(torch.get_rng_state(), state)  # training's random numbers are untouched
    assert metrics["eval_wer"] == pytest.approx(1 / 5)
    for name in ("eval_loss", "eval_top10_accuracy", "eval_duration_error", "eval_cer"):
        assert math.isfinite(metrics[name])
    spoken = sorted(path.name for path in (tmp_path / "spoken" / "step-0").iterdir())
    assert spoken == ["0.wav", "1.wav", "attention.png"]
    # per token over the dataset, whatever the batches
    rows = [trainer.eval_dataset[row] for row in range(12)]
    with torch.no_grad():
        whole = trainer.model.eval()(**SpeechCollator(trainer.model.config)(rows)).loss.item()
    assert metrics["eval_loss"] == pytest.approx(whole, rel=1e-4)


def test_a_step_with_bad_gradients_is_skipped_and_many_stop(tmp_path, tiny_checkpoint):
    trainer = make_trainer(tiny_checkpoint, tmp_path, max_steps=3, max_skipped_steps=3)
    head = trainer.model.audio_head.dense.weight
    calls = []

    def poison(gradient):
        calls.append(1)
        return gradient * float("nan") if len(calls) == 2 else gradient

    hook = head.register_hook(poison)
    before = {}
    original_step = trainer._get_grad_norm

    def watch(model, grad_norm=None):
        before[len(calls)] = head.detach().clone()
        return original_step(model, grad_norm)

    trainer._get_grad_norm = watch
    trainer.train()
    hook.remove()
    assert trainer.num_skipped_steps == 1
    assert trainer.state.log_history[-2]["skipped_steps"] == 1
    assert not torch.equal(before[1], before[2])
    assert torch.equal(before[2], before[3])  # the second step changed nothing
    assert not torch.equal(before[3], head)
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())

    trainer = make_trainer(tiny_checkpoint, tmp_path, max_steps=9, max_skipped_steps=3)
    trainer.model.audio_head.dense.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(RuntimeError, match="3 steps had NaN or infinite gradients"):
        trainer.train()


def test_checkpoints_appear_when_complete(tmp_path, tiny_checkpoint, monkeypatch):
    trainer = make_trainer(tiny_checkpoint, tmp_path, save_strategy="steps", save_steps=1, max_steps=3)

    def full_disk(output_dir):
        if trainer.state.global_step == 2:
            raise OSError(28, "No space left on device")

    save_scaler = trainer._save_scaler
    monkeypatch.setattr(trainer, "_save_scaler", lambda output_dir: (save_scaler(output_dir), full_disk(output_dir)))
    with pytest.raises(OSError, match="No space left"):
        trainer.train()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1"]
    (tmp_path / UNFINISHED_FOLDER).mkdir()  # as a killed run leaves it
    again = make_trainer(
        tiny_checkpoint, tmp_path, save_strategy="steps", save_steps=1, max_steps=3, save_total_limit=2
    )
    again.train(resume_from_checkpoint=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-3"]
    state = json.loads((tmp_path / "checkpoint-3" / "trainer_state.json").read_text())
    assert state["global_step"] == 3


def test_best_checkpoint_is_named_where_it_is(tmp_path, tiny_checkpoint):
    trainer = make_trainer(
        tiny_checkpoint,
        tmp_path,
        save_strategy="steps",
        save_steps=2,
        eval_strategy="steps",
        eval_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        early_stopping_patience=5,
        max_steps=4,
    )
    trainer.train()
    assert Path(trainer.state.best_model_checkpoint).is_dir()
    assert Path(trainer.state.best_model_checkpoint).parent == tmp_path
    saved = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text())
    assert saved["best_model_checkpoint"] == trainer.state.best_model_checkpoint


def test_lora_trains_saves_loads_and_merges(tmp_path, tiny_checkpoint):
    from peft import PeftModel

    options = ModelArguments(model=str(tiny_checkpoint), lora_rank=4, lora_modules_to_save=["audio_head"])
    trainer = make_trainer(
        tiny_checkpoint, tmp_path, wrap=lambda model: add_adapters(model, options), max_steps=6, learning_rate=1e-2
    )
    trainer.train()
    trainer.save_model()
    trained = trainer.model.eval()
    base = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint)
    batch = SpeechCollator(base.config)([trainer.eval_dataset[row] for row in range(3)])
    with torch.no_grad():
        expected = trained(**batch).logits
        assert (base(**batch).logits - expected).abs().max() > 1e-2
        loaded = PeftModel.from_pretrained(base, tmp_path).eval()
        torch.testing.assert_close(loaded(**batch).logits, expected, rtol=0, atol=1e-5)
        difference = merge_adapter(str(tmp_path), str(tmp_path / "merged"), str(tiny_checkpoint))
        assert difference < 1e-2
        merged = T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path / "merged")
        torch.testing.assert_close(merged(**batch).logits, expected, rtol=0, atol=1e-3)
    with pytest.raises(FileExistsError, match="exists"):
        merge_adapter(str(tmp_path), str(tmp_path / "merged"), str(tiny_checkpoint))


def test_train_script_writes_a_checkpoint_that_speaks(tmp_path, tiny_checkpoint):
    data = save_prepared(tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: {tiny_checkpoint}\ndatasets: [{data}]\noutput_dir: {tmp_path / 'run'}\nmax_steps: 3\nuse_cpu: true\n"
        "report_to: []\nmax_tokens_per_batch: 1500\nlearning_rate: 1.0e-3\nprompt_min_seconds: 0.2\n"
        "eval_strategy: 'no'\nsave_strategy: 'no'\ndisable_tqdm: true\n"
    )
    train([str(recipe)])
    run = tmp_path / "run"
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(run)
    processor = T5GemmaTTSProcessor.from_pretrained(run)
    assert model.generation_config.eos_token_id == model.config.eos_token_id  # not the tokenizer's
    assert len(processor.batch_decode(model.generate(**processor(text="hello world")))[0])
    before, after = load_file(tiny_checkpoint / "model.safetensors"), load_file(run / "model.safetensors")
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in before)
    recipe.write_text(recipe.read_text() + "learning_rat: 3\n")
    with pytest.raises(SystemExit):
        train([str(recipe)])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (ModelArguments, {}, "exactly one of `model`"),
        (ModelArguments, {"model": "a", "backbone": "b"}, "exactly one of `model`"),
        (ModelArguments, {"model": "a", "quantize": "4bit"}, "`lora_rank` must be above 0"),
        (ModelArguments, {"model": "a", "quantize": "2bit"}, "`quantize` must be"),
        (ModelArguments, {"model": "a", "use_dora": True}, "`use_dora` needs"),
        (ModelArguments, {"model": "a", "freeze_backbone": True, "lora_rank": 2}, "cannot both be set"),
        (DataArguments, {}, "`datasets` must name"),
        (DataArguments, {"datasets": ["a"], "dataset_weights": [1.0, 2.0]}, "one entry per dataset"),
        (arguments, {"folder": "x", "max_tokens_per_batch": 0}, "`max_tokens_per_batch` must be at least 1"),
        (arguments, {"folder": "x", "early_stopping_patience": 2}, "needs `load_best_model_at_end`"),
        (arguments, {"folder": "x", "remove_unused_columns": True}, "must be false"),
        (arguments, {"folder": "x", "optim": "scaled_adamm"}, "scaled_adamm"),
        (
            arguments,
            {"folder": "x", "selective_checkpointing": True, "activation_checkpointing": True},
            "cannot both be set",
        ),
    ],
)
def test_bad_options(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_error_for_bad_data_before_the_first_step(tmp_path, tiny_checkpoint):
    processor = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)
    config = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).config
    with pytest.raises(ValueError, match=r"row 0 \('row-0'\).*codebook size"):
        SpeechDataset(
            [speech_rows(3).map(lambda row: {"codes": [300] * row["num_frames"]})], processor.tokenizer, config
        )
    with pytest.raises(ValueError, match=r"row 1 \('row-1'\) has no text"):
        blank = speech_rows(3).map(lambda row, number: {"text": " " if number == 1 else row["text"]}, with_indices=True)
        SpeechDataset([blank], processor.tokenizer, config)
    with pytest.raises(ValueError, match="lacks the columns"):
        SpeechDataset([speech_rows(3).remove_columns("codes")], processor.tokenizer, config)
    with pytest.raises(ValueError, match="has no rows"):
        SpeechDataset([speech_rows(3).select([])], processor.tokenizer, config)
    run = ["--model", str(tiny_checkpoint), "--output_dir", str(tmp_path / "run"), "--use_cpu", "--report_to", "none"]
    data = save_prepared(tmp_path / "data", count=10)
    metadata = DatasetMetadata(codec="another", codebook_size=65536, frame_rate=50.0)
    (data / METADATA_FILE).write_text(metadata.to_json())
    with pytest.raises(ValueError, match="codes of a codebook of 65536 entries"):
        train([*run, "--datasets", str(data)])
    with pytest.raises(ValueError, match="no split 'validatio'"):
        train(
            [
                *run,
                "--datasets",
                str(save_prepared(tmp_path / "other", 10)),
                "--eval_split",
                "validatio",
                "--eval_strategy",
                "steps",
            ]
        )
    (tmp_path / "run" / "checkpoint-3").mkdir(parents=True)
    with pytest.raises(ValueError, match="already has checkpoint-3"):
        train([*run, "--datasets", str(data)])
