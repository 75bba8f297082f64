"""ScaledAdam, the optimizer that the original T5Gemma-TTS was trained with; its schedule is Eden.

For a parameter p with gradient g, step counted from 0, (b1, b2) = betas:

    delta = b1 * delta
    delta += (1 - b1) * size_step * p                                   every `size_update_period` steps
    v      = b2 * v + (1 - b2) * g^2;  v_hat = v / (1 - b2^(step + 1)) while that divisor is below 0.99, then v
    delta -= (1 - b1) * lr * max(param_rms, param_min_rms) * g / (sqrt(v_hat) + eps)
    p     += delta

param_rms is the root mean square of p, measured at the first step and at every size update. The size update treats
the size of p as a parameter of its own, whose gradient is s = sum(p * g), with P = size_update_period, the last P
values of s and size_lr = scalar_lr_scale * lr:

    v_size    = b2^P * v_size + (1 - b2^P) * mean(s^2)
    size_step = -size_lr * sqrt(1 - (b2^P)^((step + 1) / P)) * sum(s) / (sqrt(v_size) + eps)
    size_step = 0 if param_rms < param_min_rms;  -P * size_lr if param_rms > param_max_rms

A parameter of one element has no size: it is Adam with scalar_lr_scale * lr, v_hat always corrected, and p clamped to
[-scalar_max, scalar_max] before delta is added.

Gradients are clipped first: those of a group are multiplied by min(1, threshold / norm), where norm^2 is
sum((g * param_rms)^2) over the group (g^2 for one-element parameters), which is invariant to rescaling a layer. Every
`clipping_update_period` steps the threshold is set to `clipping_scale` times the median norm since the last update.
Nothing is clipped before the first update or while the median is 0 (the original clips everything to 0 then).

Differences from Adam: steps are relative to the size of each parameter, and the size has its own update; momentum
averages the scaled steps instead of the gradients and has no bias correction; the bias correction of the second moment
ends early; the clipping threshold adapts to the run; limits on the size replace weight decay. A constant factor on the
loss only changes the influence of eps, so summed and averaged losses train alike.
"""

import math
from collections import defaultdict

import torch

from .eden import Eden
from .optim_checks import check_options, check_parameter


__all__ = ["Eden", "ScaledAdam"]

# elements per fused update: on CPUs a chunk fits the cache (2^24 took 2.4 times as long); on other devices chunks limit
# temporary tensors to about 64 MB each
CPU_CHUNK_ELEMENTS = 2**18
CHUNK_ELEMENTS = 2**24

BIAS_CORRECTION_ENDS = 0.99


def _state_dtype(p: torch.Tensor) -> torch.dtype:
    return torch.promote_types(p.dtype, torch.float32)


def _chunks(params: list[torch.Tensor]):
    """Yields lists of parameters with the same device and dtype, each below the chunk size if possible."""
    buckets = defaultdict(list)
    for p in params:
        buckets[p.device, p.dtype].append(p)
    for (device, _), bucket in buckets.items():
        limit = CPU_CHUNK_ELEMENTS if device.type == "cpu" else CHUNK_ELEMENTS
        chunk, elements = [], 0
        for p in bucket:
            if chunk and elements + p.numel() > limit:
                yield chunk
                chunk, elements = [], 0
            chunk.append(p)
            elements += p.numel()
        yield chunk


def _weights_and_gradients(chunk: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Returns parameters and gradients in the dtype of the state; missing gradients are zero."""
    dtype = _state_dtype(chunk[0])
    weights = [p.to(dtype) for p in chunk]
    gradients = []
    for p, weight in zip(chunk, weights, strict=True):
        if p.grad is not None and p.grad.is_sparse:
            raise ValueError("ScaledAdam needs dense gradients, got a sparse one: use sparse=False in nn.Embedding")
        gradients.append(torch.zeros_like(weight) if p.grad is None else p.grad.to(dtype))
    return weights, gradients


def _sums_of_products(left: list[torch.Tensor], right: list[torch.Tensor]) -> torch.Tensor:
    """Returns sum(left[i] * right[i]) for each i, a tensor of shape `(len(left),)`."""
    # on CPUs, _foreach_norm and dot are off by up to 1% over 10^8 float32 elements; sum() is accurate
    return torch.stack([product.sum() for product in torch._foreach_mul(left, right)])


class ScaledAdam(torch.optim.Optimizer):
    """Adam with steps relative to the size of each parameter and adaptive gradient clipping (see the module docstring).

    Same math as the ScaledAdam of the original project. All options may differ between parameter groups; each group is
    clipped separately. Parameters may be on several devices. State is float32 (float64 for float64 parameters). With
    bfloat16 parameters, p + delta is rounded to bfloat16, which loses steps below about 0.2% of a weight: prefer
    float32 parameters under autocast.

    Each step copies one small tensor to the host and so synchronizes with the device. DDP is supported. Sharded
    parameters (FSDP) raise an error, because the sums need whole parameters; flattened ZeRO partitions cannot be
    detected and must not be used. With transformers' Trainer, set `max_grad_norm=0`: ScaledAdam clips gradients itself.

    After a step, `group["clipping_factor"]` is the factor applied to the gradients of the group (1.0: not clipped).

    Args:
        params: parameters, named parameters, or groups of them as dicts.
        lr: learning rate, relative to the parameter size; 0.035 works for training from a text backbone.
        betas: decay of the momentum and of the second moment, per step.
        clipping_scale: clipping threshold as a multiple of the median norm; None disables clipping.
        scalar_lr_scale: learning rate of one-element parameters and of sizes, relative to lr.
        eps: added to the root of second moments.
        param_min_rms: lower bound of the size used for scaling; smaller parameters get no size update.
        param_max_rms: parameters above this size shrink.
        scalar_max: upper bound on the absolute value of one-element parameters.
        size_update_period: steps between size updates.
        clipping_update_period: steps between updates of the clipping threshold; the first period is not clipped.

    Raises:
        ValueError: if an option is out of range, a parameter is not real floating point or is sharded, a gradient is
            sparse, or a state dict has the wrong entries or shapes.
    """

    def __init__(
        self,
        params,
        lr: float = 0.035,
        betas: tuple[float, float] = (0.9, 0.95),
        *,
        clipping_scale: float | None = 2.0,
        scalar_lr_scale: float = 0.1,
        eps: float = 1e-8,
        param_min_rms: float = 1e-5,
        param_max_rms: float = 3.0,
        scalar_max: float = 10.0,
        size_update_period: int = 4,
        clipping_update_period: int = 1000,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "clipping_scale": clipping_scale,
            "scalar_lr_scale": scalar_lr_scale,
            "eps": eps,
            "param_min_rms": param_min_rms,
            "param_max_rms": param_max_rms,
            "scalar_max": scalar_max,
            "size_update_period": size_update_period,
            "clipping_update_period": clipping_update_period,
        }
        check_options(defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict) -> None:
        """Adds a parameter group: `params` and options that differ from the defaults. Its step count starts at 0."""
        check_options(self.defaults | param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            for p in group["params"]:
                check_parameter(p)
        except ValueError:
            self.param_groups.pop()
            raise
        group.setdefault("clipping_factor", 1.0)

    @torch.no_grad()
    def step(self, closure=None):
        """Updates every parameter once.

        Args:
            closure (callable, *optional*): reevaluates the model, calls backward and returns the loss.

        Returns:
            The return value of `closure`, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = [group for group in self.param_groups if group["params"]]
        measured = self._measure(groups)
        for group in groups:
            self._step_group(group, measured)
        return loss

    def _step_number(self, group: dict) -> int:
        """Returns the number of completed steps of the group."""
        return self.state.get(group["params"][0], {}).get("step", 0)

    def _updates_size(self, group: dict) -> bool:
        return (self._step_number(group) + 1) % group["size_update_period"] == 0

    def _measure(self, groups: list[dict]) -> dict[torch.Tensor, list[float]]:
        """Returns [sum(g^2), sum(p * g)] per parameter, and sum(p^2) if its rms is due; one transfer for all."""
        chunks, sums = [], []
        for group in groups:
            measures_size = self._step_number(group) == 0 or self._updates_size(group)
            for chunk in _chunks(group["params"]):
                weights, gradients = _weights_and_gradients(chunk)
                rows = [_sums_of_products(gradients, gradients), _sums_of_products(weights, gradients)]
                if measures_size:
                    rows.append(_sums_of_products(weights, weights))
                chunks.append((chunk, len(rows)))
                sums.append(torch.cat(rows))
        if not sums:
            return {}
        values = torch.cat([part.to(sums[0].device) for part in sums]).tolist()
        measured, start = {}, 0
        for chunk, rows in chunks:
            for index, p in enumerate(chunk):
                measured[p] = values[start + index : start + rows * len(chunk) : len(chunk)]
            start += rows * len(chunk)
        return measured

    def _init_state(self, p: torch.Tensor, sum_of_squares: float) -> None:
        check_parameter(p)
        state = self.state[p]
        state["step"] = 0
        state["delta"] = torch.zeros_like(p, dtype=_state_dtype(p))
        state["exp_avg_sq"] = torch.zeros_like(p, dtype=_state_dtype(p))
        if p.numel() != 1:
            state["param_rms"] = math.sqrt(sum_of_squares / max(1, p.numel()))
            state["scale_exp_avg_sq"] = 0.0
            state["scale_grads"] = []

    def _step_group(self, group: dict, measured: dict) -> None:
        params = group["params"]
        step = self._step_number(group)
        if step == 0:
            for p in params:
                self._init_state(p, measured[p][2])
        factor = self._clipping_factor(group, measured)
        group["clipping_factor"] = factor
        updates_size = self._updates_size(group)
        size_steps = {}
        for p in params:
            state = self.state[p]
            if p.numel() == 1:
                continue
            state["scale_grads"].append(measured[p][1] * factor)
            if updates_size:
                state["param_rms"] = math.sqrt(measured[p][2] / max(1, p.numel()))
                size_steps[p] = self._size_step(group, state)
        for chunk in _chunks(params):
            self._update(group, chunk, step, factor, size_steps)
        for p in params:
            self.state[p]["step"] = step + 1

    def _clipping_factor(self, group: dict, measured: dict) -> float:
        """Returns the clipping factor of the group, whose state is stored with the first parameter of the group."""
        state = self.state[group["params"][0]]
        step = state["step"]
        if group["clipping_scale"] is None or step == 0:
            return 1.0
        norm = math.sqrt(sum(measured[p][0] * self.state[p].get("param_rms", 1.0) ** 2 for p in group["params"]))
        norms = state.setdefault("model_norms", [])
        norms.append(norm)
        period = group["clipping_update_period"]
        if step % period == 0:
            # the original uses index 2 * (period // 4) as median; there are fewer norms if the period changed
            median = sorted(norms)[min(2 * (period // 4), len(norms) - 1)]
            state["clipping_threshold"] = group["clipping_scale"] * median
            norms.clear()
        threshold = state.get("clipping_threshold")
        # a threshold of 0, from a group without gradients yet, would zero all steps of the next period
        return min(1.0, threshold / (norm + 1e-20)) if threshold else 1.0

    def _size_step(self, group: dict, state: dict) -> float:
        """Returns the relative change of the parameter size, before momentum."""
        period = group["size_update_period"]
        size_lr = float(group["lr"]) * group["scalar_lr_scale"]
        decay = group["betas"][1] ** period
        gradients = state["scale_grads"]
        mean_square = sum(gradient * gradient for gradient in gradients) / period
        state["scale_exp_avg_sq"] = decay * state["scale_exp_avg_sq"] + (1 - decay) * mean_square
        state["scale_grads"] = []
        if state["param_rms"] < group["param_min_rms"]:
            return 0.0
        if state["param_rms"] > group["param_max_rms"]:
            return -size_lr * period
        correction = 1 - decay ** ((state["step"] + 1) // period)
        return -size_lr * math.sqrt(correction) * sum(gradients) / (math.sqrt(state["scale_exp_avg_sq"]) + group["eps"])

    def _update(self, group: dict, chunk: list[torch.Tensor], step: int, factor: float, size_steps: dict) -> None:
        beta1, beta2 = group["betas"]
        weights, gradients = _weights_and_gradients(chunk)
        if factor < 1.0:
            gradients = torch._foreach_mul(gradients, factor)
        deltas = [self.state[p]["delta"] for p in chunk]
        squares = [self.state[p]["exp_avg_sq"] for p in chunk]

        torch._foreach_mul_(deltas, beta1)
        if size_steps:
            factors = [(1 - beta1) * size_steps.get(p, 0.0) for p in chunk]
            torch._foreach_add_(deltas, torch._foreach_mul(weights, factors))

        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        correction = 1 - beta2 ** (step + 1)
        rates, epsilons = [], []
        for p in chunk:
            if p.numel() == 1:
                scale, root = group["scalar_lr_scale"], math.sqrt(correction)
            else:
                scale = max(self.state[p]["param_rms"], group["param_min_rms"])
                root = math.sqrt(correction) if correction < BIAS_CORRECTION_ENDS else 1.0
            # g / (sqrt(v / c) + eps) = sqrt(c) * g / (sqrt(v) + sqrt(c) * eps): no pass over v for the correction
            rates.append(-float(group["lr"]) * (1 - beta1) * scale * root)
            epsilons.append(group["eps"] * root)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, epsilons)
        torch._foreach_addcdiv_(deltas, gradients, roots, rates)

        scalars = [p for p in chunk if p.numel() == 1]
        if scalars:
            torch._foreach_clamp_min_(scalars, -group["scalar_max"])
            torch._foreach_clamp_max_(scalars, group["scalar_max"])
        torch._foreach_add_(chunk, deltas)

    def load_state_dict(self, state_dict: dict) -> None:
        """Loads the state of another run and copies its tensors; training then continues bit-identically.

        Raises:
            ValueError: if groups, options, state entries or shapes do not match this optimizer.
        """
        loaded = {}

        def take(_, changed_by_hooks: dict) -> None:
            self._check_state_dict(changed_by_hooks)
            loaded.update(changed_by_hooks)

        handle = self.register_load_state_dict_pre_hook(take)
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        # the base class casts state to the dtype of the parameters and shares tensors with `state_dict`
        for index, p in self._by_index(loaded):
            for key, value in loaded["state"].get(index, {}).items():
                if isinstance(value, torch.Tensor):
                    self.state[p][key] = value.detach().to(device=p.device, dtype=_state_dtype(p), copy=True)

    def _by_index(self, state_dict: dict) -> list[tuple[int, torch.Tensor]]:
        """Pairs state dict indices with parameters; the base class rejects a state dict with other counts."""
        return [
            pair
            for saved, group in zip(state_dict["param_groups"], self.param_groups, strict=False)
            for pair in zip(saved["params"], group["params"], strict=False)
        ]

    def _check_state_dict(self, state_dict: dict) -> None:
        for number, group in enumerate(state_dict["param_groups"]):
            # torch adds "differentiable" to the defaults of a copied or loaded optimizer, but not to its groups
            if missing := sorted(self.defaults.keys() - group.keys() - {"differentiable"}):
                raise ValueError(f"the state dict is not one of ScaledAdam: group {number} has no {', '.join(missing)}")
            check_options(group)
            steps = {state_dict["state"].get(index, {}).get("step", 0) for index in group["params"]}
            if len(steps) > 1:
                raise ValueError(f"group {number} of the state dict mixes numbers of steps: {sorted(steps)}")
        for index, p in self._by_index(state_dict):
            state = state_dict["state"].get(index, {})
            expected = {"step", "delta", "exp_avg_sq"}
            if p.numel() != 1:
                expected |= {"param_rms", "scale_exp_avg_sq", "scale_grads"}
            if state and (missing := sorted(expected - state.keys())):
                raise ValueError(f"the state dict is not one of ScaledAdam: parameter {index} has no {missing}")
            for key in ("delta", "exp_avg_sq"):
                if state and state[key].shape != p.shape:
                    raise ValueError(
                        f"the state dict's {key} of parameter {index} must have the parameter's shape "
                        f"{list(p.shape)}, got {list(state[key].shape)}"
                    )
