"""A loss that spreads latents evenly over the codebook, so that all codes stay in use.

Without it, a new encoder can saturate dimensions at their two outer levels or make dimensions redundant: most codes
are then never used, and saturated dimensions get no gradient.
"""

from statistics import NormalDist

import torch
from torch import nn
from transformers.models.xcodec2.modeling_xcodec2 import Xcodec2Quantizer


GRID_LIMIT, GRID_POINTS = 6.0, 12001


def even_normal(quantizer: Xcodec2Quantizer) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Computes the normal distribution per dimension for which each outer level has probability 1 / num_levels.

    The level boundaries are measured on the quantizer, which bounds its input twice.

    Returns:
        `(mean, deviation)`: float32 of shape (num_dimensions,).

    Raises:
        ValueError: if a dimension cannot reach all its levels.
    """
    levels = quantizer.quantizer.quantization_levels
    device = quantizer.project_in.weight.device
    grid = torch.linspace(-GRID_LIMIT, GRID_LIMIT, GRID_POINTS, device=device)
    with torch.no_grad():
        bounded = quantizer.quantizer.bound(grid[:, None].expand(-1, len(levels)))
        rounded = quantizer.quantizer.bound(bounded).round()
    means, deviations = [], []
    for dimension, count in enumerate(levels):
        steps = grid[1:][rounded[1:, dimension] != rounded[:-1, dimension]]
        if len(steps) != count - 1:
            raise ValueError(
                f"a dimension with {count} levels reaches only {len(steps) + 1} of them, as this quantizer bounds its "
                "input twice: `quantization_levels` must be 3 or more."
            )
        means.append((steps[0] + steps[-1]) / 2)
        width = (steps[-1] - steps[0]) / 2
        deviations.append(width / NormalDist().inv_cdf(1 - 1 / count))
    return torch.stack(means), torch.stack(deviations)


class CodebookSpreadLoss(nn.Module):
    """
    Distance of the quantizer input from independent normal distributions with the moments of [`even_normal`]: mean
    squared error of the means, plus that of the covariance matrix, of inputs normalized by these moments.

    Args:
        quantizer (`Xcodec2Quantizer`)
    """

    def __init__(self, quantizer: Xcodec2Quantizer):
        super().__init__()
        mean, deviation = even_normal(quantizer)
        self.mean, self.deviation = nn.Buffer(mean, persistent=False), nn.Buffer(deviation, persistent=False)

    def forward(self, projected: torch.Tensor) -> torch.Tensor:
        """Input before bounding and rounding, (batch_size, num_frames, num_dimensions) -> scalar."""
        values = (projected.float().flatten(0, 1) - self.mean) / self.deviation
        mean = values.mean(0)
        centered = values - mean
        covariance = centered.T @ centered / len(values)
        off = covariance - torch.eye(len(mean), device=mean.device)
        return mean.square().mean() + off.square().sum(1).mean()


__all__ = ["CodebookSpreadLoss", "even_normal"]
