import copy
import io

import pytest
import torch
from optim_runs import SHAPES, assert_equal, make_parameters, run
from torch import nn
from transformers import Trainer, TrainingArguments

from t5gemma_tts.training.optim import Eden, ScaledAdam


def saved_and_loaded(state: dict) -> dict:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("stop", [1, 4, 7, 13])
def test_resumed_run_equals_uninterrupted_run(dtype, stop):
    def make(params):
        optimizer = ScaledAdam(params.values(), clipping_update_period=5)
        return optimizer, Eden(optimizer, warmup_batches=6.5, lr_batches=10, lr_epochs=2, pseudo_epoch_size=4)

    params = make_parameters(dtype=dtype)
    optimizer, scheduler = make(params)
    run(params, optimizer, range(stop), scheduler)
    resumed = {name: nn.Parameter(p.detach().clone()) for name, p in params.items()}
    optimizer_state, scheduler_state = (
        saved_and_loaded(optimizer.state_dict()),
        saved_and_loaded(scheduler.state_dict()),
    )
    run(params, optimizer, range(stop, 25), scheduler)

    resumed_optimizer, resumed_scheduler = make(resumed)
    resumed_optimizer.load_state_dict(optimizer_state)
    resumed_scheduler.load_state_dict(scheduler_state)
    run(resumed, resumed_optimizer, range(stop, 25), resumed_scheduler)

    assert_equal(params, resumed)
    assert resumed_scheduler.state_dict() == scheduler.state_dict()
    torch.testing.assert_close(resumed_optimizer.state_dict(), optimizer.state_dict(), rtol=0, atol=0)
    assert optimizer.state_dict()["state"][0]["clipping_threshold"] > 0


def test_state_dict_holds_only_plain_values_by_parameter_index():
    params = make_parameters()
    optimizer = ScaledAdam(params.values(), clipping_update_period=3)
    run(params, optimizer, range(9))
    state = optimizer.state_dict()["state"]
    assert list(state) == list(range(len(params)))
    for index, p in enumerate(params.values()):
        assert state[index]["delta"].shape == state[index]["exp_avg_sq"].shape == p.shape
        assert state[index]["step"] == 9
        assert ("param_rms" in state[index]) == (p.numel() != 1)
    for entry in (value for entries in state.values() for value in entries.values()):
        assert type(entry) in (torch.Tensor, int, float, list)


def test_loading_copies_the_state():
    params, others = make_parameters(), make_parameters()
    optimizer, other = ScaledAdam(params.values()), ScaledAdam(others.values())
    run(params, optimizer, range(5))
    other.load_state_dict(optimizer.state_dict())
    before = copy.deepcopy(other.state_dict())
    run(params, optimizer, range(5, 12))
    torch.testing.assert_close(other.state_dict(), before, rtol=0, atol=0)


def test_trainer_resumes_from_its_checkpoint_exactly(tmp_path):
    class Regression(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(4, 3)
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x, labels):
            predicted = self.scale * self.linear(x)
            return {"loss": (predicted - labels).square().mean(), "logits": predicted}

    generator = torch.Generator().manual_seed(1)
    rows = [
        {"x": torch.randn(4, generator=generator), "labels": torch.randn(3, generator=generator)} for _ in range(64)
    ]
    learning_rates = []

    def train(folder, resume=None):
        model = Regression()
        optimizer = ScaledAdam(model.parameters(), clipping_update_period=4)
        scheduler = Eden(optimizer, warmup_batches=5.0, lr_batches=8, lr_epochs=2, pseudo_epoch_size=6)
        learning_rates.append([])
        optimizer.register_step_pre_hook(lambda *_: learning_rates[-1].append(optimizer.param_groups[0]["lr"]))
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=14,
            save_steps=9,
            save_strategy="steps",
            per_device_train_batch_size=4,
            max_grad_norm=0,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = Trainer(model, arguments, train_dataset=rows, optimizers=(optimizer, scheduler))
        trainer.train(resume_from_checkpoint=resume)
        return model, optimizer

    model, optimizer = train(tmp_path / "whole")
    resumed, resumed_optimizer = train(tmp_path / "resumed", resume=tmp_path / "whole" / "checkpoint-9")
    assert_equal(dict(model.named_parameters()), dict(resumed.named_parameters()))
    torch.testing.assert_close(resumed_optimizer.state_dict(), optimizer.state_dict(), rtol=0, atol=0)

    whole, rest = learning_rates
    assert len(whole) == 14 and rest == whole[9:]
    for number, lr in enumerate(whole, start=1):
        batch, epoch = number - 1, number // 6 + 1
        warm = 0.5 + 0.5 * batch / 5 if batch < 5 else 1.0
        wanted = 0.035 * ((batch**2 + 8**2) / 8**2) ** -0.25 * ((epoch**2 + 2**2) / 2**2) ** -0.25 * warm
        assert lr == pytest.approx(wanted, rel=1e-14)


def test_bad_state_dicts():
    params = make_parameters()
    optimizer = ScaledAdam(params.values())
    run(params, optimizer, range(3))
    before = copy.deepcopy(optimizer.state_dict())

    adam_params = make_parameters()
    adam = torch.optim.AdamW(adam_params.values())
    run(adam_params, adam, range(1))
    other_shapes = make_parameters({name: (3, 3) for name in SHAPES})
    other = ScaledAdam(other_shapes.values())
    run(other_shapes, other, range(3))
    fewer = ScaledAdam(list(make_parameters().values())[:2])
    without_size, mixed_steps, bad_option = (copy.deepcopy(before) for _ in range(3))
    del without_size["state"][0]["param_rms"]
    mixed_steps["state"][1]["step"] = 2
    bad_option["param_groups"][0]["eps"] = -1

    for state, message in (
        (adam.state_dict(), "not one of ScaledAdam: group 0 has no clipping_scale"),
        (without_size, r"not one of ScaledAdam: parameter 0 has no \['param_rms'\]"),
        (other.state_dict(), r"delta of parameter 0 must have the parameter's shape \[4, 6\], got \[3, 3\]"),
        (mixed_steps, r"group 0 of the state dict mixes numbers of steps: \[2, 3\]"),
        (bad_option, "eps must be a finite number > 0, got -1"),
        (fewer.state_dict(), "parameter group that doesn't match the size"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(state)
        torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)
