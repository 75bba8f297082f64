"""Masking of decoder inputs in training, so that the model cannot rely on past codes alone.

Past codes predict the next code well, so a model can reach a low loss without using the text. Where past codes are
masked, only the text and the progress position predict the next code. A mask rate that varies between rows trains both
cases: fully masked rows train text-to-code alignment, unmasked rows match the inputs at generation.
"""

import torch

from .. import T5GemmaTTSConfig


def mask_codes(
    decoder_input_ids: torch.Tensor, config: T5GemmaTTSConfig, probability: float, row_probability: float = 0.0
) -> torch.Tensor:
    """
    Replaces random target codes by an unused token id. Reference codes are not masked: they define the voice.

    Args:
        decoder_input_ids (`torch.LongTensor` of shape `(batch_size, length)`)
        config (`T5GemmaTTSConfig`)
        probability (`float`): fraction of codes to mask.
        row_probability (`float`, *optional*, defaults to 0.0): fraction of rows with their own mask rate instead,
            drawn uniformly from 0 to 1.

    Returns:
        `torch.LongTensor` of the same shape.
    """
    device = decoder_input_ids.device
    # mask with the unused one of the two possible end tokens; neither occurs as an input
    unused = {config.codebook_size + 1, config.codebook_size + 3} - {config.eos_token_id}
    rates = torch.full((len(decoder_input_ids), 1), probability, device=device)
    if row_probability:
        chosen, drawn = torch.rand(2, len(decoder_input_ids), 1, device=device)
        rates = torch.where(chosen < row_probability, drawn, rates)
    is_separator = decoder_input_ids == config.audio_separator_token_id
    in_target = (is_separator.cumsum(-1) > 0) | ~is_separator.any(-1, keepdim=True)
    hidden = torch.rand(decoder_input_ids.shape, device=device) < rates
    return decoder_input_ids.masked_fill(hidden & in_target & (decoder_input_ids < config.codebook_size), unused.pop())


__all__ = ["mask_codes"]
