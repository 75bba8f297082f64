import json

import golden
import pytest
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from t5gemma_tts.training.optim import Eden, ScaledAdam


pytestmark = pytest.mark.golden

CASE_OPTIONS = (
    "betas",
    "clipping_scale",
    "clipping_update_period",
    "scalar_lr_scale",
    "eps",
    "param_min_rms",
    "param_max_rms",
    "scalar_max",
    "size_update_period",
)


@pytest.mark.parametrize(**golden.parametrize("e_optimizer"))
def test_trajectory_equals_the_original(path):
    case, inputs, expected = golden.read_case(path)
    params = {name: nn.Parameter(inputs[f"init.{name}"].clone()) for name in case["names_in_order"]}
    optimizer = ScaledAdam(params.values(), lr=case["lr"], **{name: case[name] for name in CASE_OPTIONS})
    scheduler = Eden(optimizer, **case["eden"])
    (group,) = optimizer.param_groups
    compared = 0
    for step in range(1, case["steps"] + 1):
        for name, p in params.items():
            p.grad = inputs.get(f"grad_{step}.{name}")
        assert group["lr"] == pytest.approx(case["lr_used_at_step"][step - 1], rel=1e-14)
        optimizer.step()
        scheduler.step()
        assert group["clipping_factor"] == pytest.approx(case["clipping_scale_at_step"][step - 1], rel=1e-6)
        for name, p in params.items():
            if (wanted := expected.get(f"param_{step}.{name}")) is not None:
                difference = (p.detach() - wanted).abs().max()
                assert difference <= 1e-6 * wanted.abs().max(), f"step {step}, {name}: {difference}"
                compared += 1
    assert compared == sum(key.startswith("param_") for key in expected)


def test_eden_table_of_the_original():
    rows = json.loads((golden.TTS_DIR / "e_optimizer" / "eden_table.json").read_text())
    assert rows
    for row in rows:
        names = ("lr_batches", "lr_epochs", "warmup_batches", "pseudo_epoch_size")
        group = {"params": [nn.Parameter(torch.zeros(1))], "initial_lr": row["base_lr"]}
        optimizer = torch.optim.SGD([group], lr=row["base_lr"])
        options = {name: row[name] for name in names}
        scheduler = Eden(optimizer, **options, last_epoch=row["step"] - 2)
        assert scheduler.get_last_lr() == pytest.approx([row["lr"]], rel=1e-14), row


def test_original_adamw_schedule_is_transformers_linear_schedule():
    table = json.loads((golden.TTS_DIR / "e_optimizer" / "adamw_lambda_table.json").read_text())
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_linear_schedule_with_warmup(optimizer, table["warmup_steps"], table["total"])
    (factor,) = schedule.lr_lambdas
    assert table["rows"]
    for row in table["rows"]:
        assert factor(row["step"]) == row["factor"], row
    # the factor of step 0 is the one the first optimizer step uses
    assert schedule.get_last_lr() == [factor(0)]
