import pytest
import torch
from optim_runs import assert_equal, make_parameters, run, set_gradients
from torch import nn

import t5gemma_tts.training.optim as optim
from t5gemma_tts.training.optim import Eden, ScaledAdam


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_parameters_together_equal_one_optimizer_for_each(dtype, monkeypatch):
    together = make_parameters(dtype=dtype)
    optimizer = ScaledAdam(together.values(), clipping_scale=None)
    run(together, optimizer, range(13))

    alone = make_parameters(dtype=dtype)
    for name, p in alone.items():
        run({name: p}, ScaledAdam([p], clipping_scale=None), range(13))
    assert_equal(together, alone)

    # also with so little room that every parameter is a chunk of its own
    monkeypatch.setattr(optim, "CPU_CHUNK_ELEMENTS", 1)
    chunked = make_parameters(dtype=dtype)
    run(chunked, ScaledAdam(chunked.values(), clipping_scale=None), range(13))
    assert_equal(together, chunked)


def test_parameters_of_several_dtypes_share_one_norm():
    doubled = make_parameters(dtype=torch.float64)
    mixed = {name: nn.Parameter(p.detach().to(torch.float32)) for name, p in doubled.items()}
    mixed["a"] = nn.Parameter(doubled["a"].detach().clone())
    factors = []
    for params in (doubled, mixed):
        optimizer = ScaledAdam(params.values(), clipping_update_period=4)
        factors.append([])
        for step in range(15):
            run(params, optimizer, [step])
            factors[-1].append(optimizer.param_groups[0]["clipping_factor"])
    assert min(factors[0]) < 0.5
    assert factors[1] == pytest.approx(factors[0], rel=1e-4)
    assert optimizer.state[mixed["a"]]["delta"].dtype == torch.float64
    assert optimizer.state[mixed["b"]]["delta"].dtype == torch.float32


def test_bfloat16_parameters_follow_the_float32_run_with_float32_state():
    exact = make_parameters()
    rounded = {name: nn.Parameter(p.detach().to(torch.bfloat16)) for name, p in exact.items()}
    for p, wide in zip(rounded.values(), exact.values(), strict=True):
        wide.data.copy_(p.detach())
    optimizers = [ScaledAdam(params.values()) for params in (exact, rounded)]
    for step in range(12):
        run(exact, optimizers[0], [step])
        for name, p in rounded.items():
            p.grad = exact[name].grad.to(torch.bfloat16)
        optimizers[1].step()
    for name, p in rounded.items():
        assert p.dtype == torch.bfloat16
        assert optimizers[1].state[p]["delta"].dtype == torch.float32
        assert optimizers[1].state[p]["exp_avg_sq"].dtype == torch.float32
        torch.testing.assert_close(p.detach().float(), exact[name].detach(), rtol=0.05, atol=0.01)


def test_missing_gradient_is_zero_and_momentum_continues():
    missing, zero = make_parameters(), make_parameters()
    optimizers = [ScaledAdam(params.values(), clipping_update_period=3) for params in (missing, zero)]
    for step in range(10):
        for params in (missing, zero):
            set_gradients(params, step)
        if step > 4:
            before = missing["a"].detach().clone()
            missing["a"].grad = missing["scalar"].grad = None
            zero["a"].grad.zero_()
            zero["scalar"].grad.zero_()
        for optimizer in optimizers:
            optimizer.step()
        if step > 4:
            assert not torch.equal(missing["a"], before)
    assert_equal(missing, zero)
    assert missing["a"].grad is None


def test_parameters_that_never_had_a_gradient_stay():
    params = make_parameters()
    before = params["a"].detach().clone()
    optimizer = ScaledAdam(params.values())
    for step in range(9):
        set_gradients(params, step)
        params["a"].grad = None
        optimizer.step()
    assert torch.equal(params["a"], before)


def test_gradients_and_weights_of_zero_stay_finite():
    p = nn.Parameter(torch.zeros(3, 2))
    empty = nn.Parameter(torch.zeros(0, 2))
    optimizer = ScaledAdam([p, empty], clipping_update_period=2)
    for _ in range(6):
        p.grad, empty.grad = torch.zeros_like(p), torch.zeros_like(empty)
        optimizer.step()
    assert torch.equal(p, torch.zeros(3, 2))
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert torch.isfinite(p).all() and (p < 0).all()


def test_step_does_not_change_gradients():
    params = make_parameters()
    optimizer = ScaledAdam(params.values(), clipping_update_period=2)
    for step in range(7):
        set_gradients(params, step)
        gradients = {name: p.grad.clone() for name, p in params.items()}
        optimizer.step()
        assert_equal(gradients, {name: p.grad for name, p in params.items()})
    assert optimizer.param_groups[0]["clipping_factor"] < 1


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_element_parameters_are_adam_with_a_bound(shape, sign):
    lr, scalar_lr_scale, beta1, beta2, eps = 0.5, 0.2, 0.8, 0.9, 1e-8
    p = nn.Parameter(torch.full(shape, sign * 4.0, dtype=torch.float64))
    optimizer = ScaledAdam(
        [p], lr=lr, betas=(beta1, beta2), scalar_lr_scale=scalar_lr_scale, scalar_max=2.0, clipping_scale=None, eps=eps
    )
    value, delta, square = sign * 4.0, 0.0, 0.0
    for step in range(30):
        gradient = sign * (-1.0 if step % 3 else 0.5)
        p.grad = torch.full(shape, gradient, dtype=torch.float64)
        optimizer.step()
        square = beta2 * square + (1 - beta2) * gradient**2
        root = (square / (1 - beta2 ** (step + 1))) ** 0.5
        delta = beta1 * delta - lr * scalar_lr_scale * (1 - beta1) * gradient / (root + eps)
        value = max(-2.0, min(2.0, value)) + delta
        assert p.item() == pytest.approx(value, rel=1e-12)
    assert sign * value > 2.0


@pytest.mark.parametrize("size", [1e-7, 0.3, 5.0])
def test_update_follows_the_formulas(size):
    lr, beta1, beta2, eps, period = 0.05, 0.8, 0.6, 1e-8, 3
    params = {"a": make_parameters(dtype=torch.float64)["a"]}
    params["a"].data.mul_(size / params["a"].detach().square().mean().sqrt())
    p = params["a"]
    value = p.detach().clone()
    optimizer = ScaledAdam([p], lr=lr, betas=(beta1, beta2), clipping_scale=None, eps=eps, size_update_period=period)
    delta, square, size_square, sums = torch.zeros_like(value), torch.zeros_like(value), 0.0, []
    rms = value.square().mean().sqrt()
    # long enough for the second moment's correction to end: 1 - 0.6^10 > 0.99
    for step in range(24):
        set_gradients(params, step)
        optimizer.step()
        g = p.grad
        sums.append((value * g).sum())
        delta = beta1 * delta
        if step % period == period - 1:
            rms = value.square().mean().sqrt()
            decay = beta2**period
            size_square = decay * size_square + (1 - decay) * sum(s**2 for s in sums) / period
            size_step = -0.1 * lr * (1 - decay ** ((step + 1) // period)) ** 0.5 * sum(sums) / (size_square**0.5 + eps)
            if rms < 1e-5:
                size_step = 0.0
            elif rms > 3.0:
                size_step = -0.1 * lr * period
            delta = delta + (1 - beta1) * size_step * value
            sums = []
        square = beta2 * square + (1 - beta2) * g**2
        correction = 1 - beta2 ** (step + 1)
        corrected = square / correction if correction < 0.99 else square
        delta = delta - lr * (1 - beta1) * max(rms, 1e-5) * g / (corrected.sqrt() + eps)
        value = value + delta
        torch.testing.assert_close(p.detach(), value, rtol=1e-9, atol=1e-12 * size)


def test_groups_keep_their_own_options_and_clipping():
    options = {"lr": 0.02, "betas": (0.8, 0.9), "clipping_update_period": 3, "size_update_period": 2}
    together, alone = make_parameters(), make_parameters()
    first, second = ("a", "bias", "scalar"), ("b", "conv", "one")
    optimizer = ScaledAdam([{"params": [together[name] for name in first]}], clipping_update_period=6)
    optimizer.add_param_group({"params": [together[name] for name in second], **options})
    factors = []
    separate = [
        ScaledAdam([alone[name] for name in first], clipping_update_period=6),
        ScaledAdam([alone[name] for name in second], **options),
    ]
    for step in range(16):
        for params in (together, alone):
            set_gradients(params, step)
        for each in (optimizer, *separate):
            each.step()
        factors.append([group["clipping_factor"] for group in optimizer.param_groups])
        assert factors[-1] == [each.param_groups[0]["clipping_factor"] for each in separate]
    assert_equal(together, alone)
    assert min(factor for factor, _ in factors) < 1 and min(factor for _, factor in factors) < 1


def test_group_added_later_starts_from_its_first_step():
    params, alone = make_parameters(), make_parameters()
    optimizer = ScaledAdam([params["a"]])
    scheduler = Eden(optimizer, warmup_batches=0)
    run({"a": params["a"]}, optimizer, range(5), scheduler)
    optimizer.add_param_group({"params": [params["b"]], "lr": 0.01})
    optimizer.param_groups[1]["initial_lr"] = 0.01
    scheduler.step()
    first, second = scheduler.get_last_lr()
    assert second == pytest.approx(first * 0.01 / 0.035)

    other = ScaledAdam([alone["b"]], lr=second)
    for step in range(5, 12):
        set_gradients(params, step)
        set_gradients(alone, step)
        optimizer.step()
        other.step()
    assert torch.equal(params["b"], alone["b"])


def test_clipping_starts_with_the_median_of_the_first_period():
    p = nn.Parameter(torch.full((2, 2), 0.5))
    optimizer = ScaledAdam([p], lr=0.0, clipping_scale=1.5, clipping_update_period=4)
    # rms 0.5 and gradients of norm 2 * g: norms are g; the first step's is not counted
    gradients = [100.0, 3.0, 1.0, 7.0, 5.0, 9.0, 7.0]
    factors = []
    for gradient in gradients:
        p.grad = torch.full((2, 2), gradient)
        optimizer.step()
        factors.append(optimizer.param_groups[0]["clipping_factor"])
    threshold = 1.5 * 5.0  # the upper median of 3, 1, 7, 5
    assert factors == pytest.approx([1, 1, 1, 1, 1, threshold / 9, 1])


def test_named_parameters_and_closure():
    model = nn.Linear(3, 2)
    optimizer = ScaledAdam(model.named_parameters())
    x = torch.ones(4, 3)

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(20)]
    assert losses[-1] < losses[0]
    assert ScaledAdam(nn.Linear(3, 2).parameters()).step() is None


def test_factor_on_the_loss_changes_nothing():
    params, scaled = make_parameters(), make_parameters()
    run(params, ScaledAdam(params.values(), clipping_update_period=4), range(20))
    run(scaled, ScaledAdam(scaled.values(), clipping_update_period=4), range(20), scale=1024.0)
    for name, p in params.items():
        torch.testing.assert_close(p, scaled[name], rtol=1e-5, atol=1e-6)


def test_one_transfer_per_step(monkeypatch):
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoItem(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            assert "_local_scalar_dense" not in str(function)
            return function(*args, **(kwargs or {}))

    calls = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: calls.append(1) or tolist(tensor))
    params = make_parameters()
    params["wide"] = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    optimizer = ScaledAdam([{"params": [params["a"], params["wide"]]}, {"params": [params["b"], params["scalar"]]}])
    with NoItem():
        for _ in range(9):
            optimizer.step()
    assert len(calls) == 9


def test_solves_a_small_regression():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = ScaledAdam(model.parameters(), clipping_update_period=50)
    scheduler = Eden(optimizer, warmup_batches=20, lr_batches=100, lr_epochs=4, pseudo_epoch_size=100)
    x = torch.randn(256, 6)
    y = torch.sin(x[:, :1]) + 0.5 * x[:, 1:2] * x[:, 2:3]
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lr": -0.1}, "lr must be a finite number >= 0, got -0.1"),
        ({"lr": float("nan")}, "lr must be a finite number >= 0, got nan"),
        ({"lr": "0.1"}, "lr must be a finite number >= 0, got '0.1'"),
        ({"lr": True}, "lr must be a finite number >= 0, got True"),
        ({"betas": (0.9,)}, r"betas must be two numbers in \[0, 1\), got \(0.9,\)"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\), got \(0.9, 1.0\)"),
        ({"betas": 0.9}, r"betas must be two numbers in \[0, 1\), got 0.9"),
        ({"betas": ("a", 0.9)}, "betas must be two numbers"),
        ({"clipping_scale": 0}, "clipping_scale must be None or a finite number > 0, got 0"),
        ({"scalar_lr_scale": -1}, "scalar_lr_scale must be a finite number >= 0, got -1"),
        ({"eps": 0}, "eps must be a finite number > 0, got 0"),
        ({"param_min_rms": 0.0}, "param_min_rms must be a finite number > 0, got 0.0"),
        ({"param_max_rms": float("inf")}, "param_max_rms must be a finite number > 0, got inf"),
        ({"param_max_rms": 1e-6}, "param_max_rms must be larger than param_min_rms, got 1e-06 and 1e-05"),
        ({"scalar_max": None}, "scalar_max must be a finite number > 0, got None"),
        ({"size_update_period": 0}, "size_update_period must be an integer >= 1, got 0"),
        ({"size_update_period": 1.5}, "size_update_period must be an integer >= 1, got 1.5"),
        ({"clipping_update_period": 0}, "clipping_update_period must be an integer >= 1, got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ScaledAdam([nn.Parameter(torch.ones(2))], **options)
    optimizer = ScaledAdam([nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], **options})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"warmup_batches": -1}, "warmup_batches must be a finite number >= 0, got -1"),
        ({"lr_batches": 0}, "lr_batches must be a finite number > 0, got 0"),
        ({"lr_epochs": float("nan")}, "lr_epochs must be a finite number > 0, got nan"),
        ({"pseudo_epoch_size": 0}, "pseudo_epoch_size must be an integer >= 1, got 0"),
        ({"pseudo_epoch_size": 2.5}, "pseudo_epoch_size must be an integer >= 1, got 2.5"),
    ],
)
def test_bad_eden_options(options, message):
    with pytest.raises(ValueError, match=message):
        Eden(ScaledAdam([nn.Parameter(torch.ones(2))]), **{"warmup_batches": 10, **options})


def test_bad_parameters_and_gradients():
    optimizer = ScaledAdam([nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match="real floating point parameters, got dtype torch.complex64"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2, dtype=torch.complex64))]})
    assert len(optimizer.param_groups) == 1

    embedding = nn.Embedding(4, 2, sparse=True)
    optimizer = ScaledAdam(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    before = embedding.weight.detach().clone()
    with pytest.raises(ValueError, match="dense gradients, got a sparse one"):
        optimizer.step()
    assert torch.equal(embedding.weight, before)


def test_error_for_sharded_parameters():
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        p = nn.Parameter(distribute_tensor(torch.ones(4, 2), init_device_mesh("cpu", (1,)), [Shard(0)]))
        with pytest.raises(ValueError, match=r"sharded over processes \(FSDP\)"):
            ScaledAdam([p])
    finally:
        dist.destroy_process_group()
