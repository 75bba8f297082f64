"""Masking of decoder inputs in training, so that the model cannot rely on past codes alone.

Codes are easy to guess from those before them, and a model can live on that long before it hears what the text says.
Where the past is hidden, only text and progress are left to tell the next code. A rate that varies from row to row
teaches both: with everything hidden, the way from text to sound; with nothing hidden, speech as it will be generated.
"""

import torch

from .. import T5GemmaTTSConfig


def mask_codes(
    decoder_input_ids: torch.Tensor, config: T5GemmaTTSConfig, probability: float, row_probability: float = 0.0
) -> torch.Tensor:
    """
    Puts a token that never occurs in place of codes. References stay whole: they say whose voice it is.

    Args:
        decoder_input_ids (`torch.LongTensor` of shape `(batch_size, length)`)
        config (`T5GemmaTTSConfig`)
        probability (`float`): share of codes that are hidden.
        row_probability (`float`, *optional*, defaults to 0.0): share of rows with a rate of their own instead, drawn
            evenly from 0 to 1.

    Returns:
        `torch.LongTensor` of the same shape.
    """
    device = decoder_input_ids.device
    # of the two possible end tokens, the one that is not in use; neither is ever an input
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
