"""Waveform encoder with blocked matrix products: same outputs as transformers' encoder, about twice as fast.

The activations upsample by 2, apply Snake and downsample, with depthwise convolutions that dominate the time of a
training step on a CPU. This module multiplies blocks of samples, with their context, by one upsampling and one
downsampling matrix, and implements Snake and all gradients explicitly. The matrices are computed from the filters of
the library. Dilated convolutions with few channels, whose gradients are slow too, become one product over shifted
copies.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.xcodec2.modeling_xcodec2 import Xcodec2AntiAliasedActivation1d, Xcodec2Encoder


BLOCK = 16  # samples; larger blocks multiply more zeros, smaller blocks overlap more
HALO = 6  # context samples on each side of a block
EDGE = 5  # context samples at the doubled rate on each side of a block
FEW_CHANNELS = 8  # up to this many channels, a product over shifted copies is faster than the library's convolution


def resampling_matrices(activation: Xcodec2AntiAliasedActivation1d) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Computes the upsampling and downsampling filters of an activation as matrices.

    Returns:
        `(up, down)`: (BLOCK + 2 * HALO, 2 * BLOCK + 2 * EDGE) and (2 * BLOCK + 2 * EDGE, BLOCK), valid away from the
        ends of a clip.
    """
    length = 3 * BLOCK
    device = activation.upsample.filter.device
    with torch.no_grad():
        up = activation.upsample(torch.eye(length, device=device)[:, None])[:, 0]
        down = activation.downsample(torch.eye(2 * length, device=device)[:, None])[:, 0]
    first, last = 2 * BLOCK - EDGE, 4 * BLOCK + EDGE
    return (
        up[BLOCK - HALO : 2 * BLOCK + HALO, first:last].contiguous(),
        down[first:last, BLOCK : 2 * BLOCK].contiguous(),
    )


class BlockedSnake(torch.autograd.Function):
    """`down(snake(up(x)))` for x of shape (batch_size, channels, num_blocks * BLOCK)."""

    @staticmethod
    def forward(ctx, x, alpha, inverse_beta, up, down):
        batch_size, channels, length = x.shape
        blocks = F.pad(x, (HALO, HALO), mode="replicate").unfold(-1, BLOCK + 2 * HALO, BLOCK)
        raised = blocks @ up
        # the library pads with the first and last upsampled value
        raised[:, :, 0, :EDGE] = raised[:, :, 0, EDGE : EDGE + 1]
        raised[:, :, -1, -EDGE:] = raised[:, :, -1, -EDGE - 1 : -EDGE]
        ctx.save_for_backward(raised, alpha, inverse_beta, up, down)
        activated = torch.addcmul(raised, (raised * alpha).sin_().square_(), inverse_beta)
        return (activated @ down).view(batch_size, channels, length)

    @staticmethod
    def backward(ctx, gradient):
        raised, alpha, inverse_beta, up, down = ctx.saved_tensors
        batch_size, channels, num_blocks, _ = raised.shape
        gradient = gradient.reshape(batch_size, channels, num_blocks, BLOCK) @ down.T
        phase = raised * alpha
        slope = (2 * phase).sin_()  # of sin^2
        over = (0, 2, 3)
        inverse_beta_gradient = (gradient * phase.sin_().square_()).sum(over).view_as(inverse_beta)
        slope *= gradient
        alpha_gradient = (slope * raised).sum(over).view_as(alpha) * inverse_beta
        gradient = torch.addcmul(gradient, slope, alpha * inverse_beta)
        gradient[:, :, 0, EDGE] += gradient[:, :, 0, :EDGE].sum(-1)
        gradient[:, :, -1, -EDGE - 1] += gradient[:, :, -1, -EDGE:].sum(-1)
        gradient[:, :, 0, :EDGE] = 0
        gradient[:, :, -1, -EDGE:] = 0
        gradient = gradient @ up.T
        before, after = gradient[..., :HALO], gradient[..., -HALO:]
        result = gradient[..., HALO:-HALO].contiguous()
        result[:, :, :-1, -HALO:] += before[:, :, 1:]
        result[:, :, 1:, :HALO] += after[:, :, :-1]
        result[:, :, 0, 0] += before[:, :, 0].sum(-1)
        result[:, :, -1, -1] += after[:, :, -1].sum(-1)
        return result.view(batch_size, channels, -1), alpha_gradient, inverse_beta_gradient, None, None


def activate(
    activation: Xcodec2AntiAliasedActivation1d, hidden_states: torch.Tensor, matrices: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Same as `activation(hidden_states)`, but faster; (batch_size, channels, length) -> the same shape."""
    if hidden_states.shape[-1] % BLOCK:
        return activation(hidden_states)
    snake = activation.act
    alpha = snake.alpha.exp().view(-1, 1, 1)
    inverse_beta = (1.0 / (snake.beta.exp() + snake.no_div_by_zero)).view(-1, 1, 1)
    return BlockedSnake.apply(hidden_states, alpha, inverse_beta, *matrices)


def convolve(convolution: nn.Conv1d, hidden_states: torch.Tensor) -> torch.Tensor:
    """Same as `convolution(hidden_states)` with "same" padding; (batch_size, channels, length) -> same shape."""
    if convolution.in_channels > FEW_CHANNELS:
        return convolution(hidden_states)
    length, (size,), (dilation,) = hidden_states.shape[-1], convolution.kernel_size, convolution.dilation
    padded = F.pad(hidden_states, (convolution.padding[0],) * 2)
    shifted = torch.cat([padded[..., tap * dilation : tap * dilation + length] for tap in range(size)], dim=1)
    weight = convolution.weight.transpose(1, 2).flatten(1)  # taps outside, channels inside, as in `shifted`
    return torch.einsum("oi,bit->bot", weight, shifted) + convolution.bias[:, None]


def encode_waveform(encoder: Xcodec2Encoder, audio: torch.Tensor) -> torch.Tensor:
    """
    Same as `encoder(audio)`, but faster.

    Args:
        encoder (`Xcodec2Encoder`)
        audio (`torch.Tensor`): (batch_size, 1, num_frames * hop_length), float32.

    Returns:
        `torch.Tensor`: (batch_size, width, num_frames)
    """
    matrices = resampling_matrices(encoder.snake1)
    hidden_states = encoder.conv1(audio)
    for block in encoder.block:
        for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
            inside = convolve(unit.conv1, activate(unit.snake1, hidden_states, matrices))
            hidden_states = hidden_states + convolve(unit.conv2, activate(unit.snake2, inside, matrices))
        hidden_states = block.conv1(activate(block.snake1, hidden_states, matrices))
    return encoder.conv2(activate(encoder.snake1, hidden_states, matrices))


__all__ = ["encode_waveform"]
