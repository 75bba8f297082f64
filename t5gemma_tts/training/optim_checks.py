"""Validation of the options and parameters of ScaledAdam."""

import math
from numbers import Real

import torch


# name: (lower bound, whether the bound is exclusive, whether the value must be an integer)
_ACCEPTED = {
    "lr": (0, False, False),
    "scalar_lr_scale": (0, False, False),
    "eps": (0, True, False),
    "param_min_rms": (0, True, False),
    "param_max_rms": (0, True, False),
    "scalar_max": (0, True, False),
    "clipping_scale": (0, True, False),
    "size_update_period": (1, False, True),
    "clipping_update_period": (1, False, True),
}


def check_options(options: dict) -> None:
    """Raises a ValueError for the first option that is out of range."""
    for name, value in options.items():
        if name == "clipping_scale" and value is None or name not in _ACCEPTED:
            continue
        smallest, excluded, integer = _ACCEPTED[name]
        is_number = isinstance(value, Real | torch.Tensor) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or value < smallest or (excluded and value == smallest) or (integer and value % 1):
            kind = "an integer" if integer else "a finite number"
            alternative = "None or " if name == "clipping_scale" else ""
            raise ValueError(
                f"{name} must be {alternative}{kind} {'>' if excluded else '>='} {smallest}, got {value!r}"
            )
    betas = options["betas"]
    is_pair = isinstance(betas, tuple | list) and len(betas) == 2
    if not is_pair or not all(isinstance(beta, Real) and 0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers in [0, 1), got {betas!r}")
    if options["param_min_rms"] >= options["param_max_rms"]:
        raise ValueError(
            f"param_max_rms must be larger than param_min_rms, got {options['param_max_rms']!r} "
            f"and {options['param_min_rms']!r}"
        )


def check_parameter(p: torch.Tensor) -> None:
    """Raises a ValueError if the parameter is not real floating point or is sharded over processes."""
    if not p.is_floating_point():
        raise ValueError(f"ScaledAdam needs real floating point parameters, got dtype {p.dtype}")
    # DTensor and the two forms of FSDP 1: sums over such a parameter would only cover the local shard
    if hasattr(p, "device_mesh") or getattr(p, "_is_flat_param", False) or getattr(p, "_fsdp_flattened", False):
        raise ValueError(
            "ScaledAdam needs whole parameters, got one that is sharded over processes (FSDP): "
            "use data parallelism (DDP) or another optimizer, for example AdamW"
        )
