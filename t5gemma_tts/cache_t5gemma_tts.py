"""Keys and values of speech in memory that is there from the start, since a speech's length is known beforehand.

`SpeechCache` is what `generate` hands from step to step, `SpeechState` what a decode step works on: rows may be of
different lengths, each adding its next column where it is.
"""

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache


class RoomyLayer(DynamicLayer):
    """
    A cache layer with room for `capacity` tokens; it doubles when that is not enough.

    `keys` and `values` are views of the used part of the buffers, so that appending copies nothing else.
    """

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = capacity

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.key_buffer = key_states.new_empty((*key_states.shape[:2], self.capacity, key_states.shape[-1]))
        self.value_buffer = value_states.new_empty((*value_states.shape[:2], self.capacity, value_states.shape[-1]))
        self.set_length(0)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length, added = self.get_seq_length(), key_states.shape[-2]
        self.reserve(length + added)
        self.key_buffer[:, :, length : length + added] = key_states
        self.value_buffer[:, :, length : length + added] = value_states
        self.set_length(length + added)
        return self.keys, self.values

    def reserve(self, length: int) -> None:
        if length <= self.key_buffer.shape[2]:
            return
        room = max(length, 2 * self.key_buffer.shape[2])
        self.key_buffer, self.value_buffer = (
            torch.cat([buffer, buffer.new_empty((*buffer.shape[:2], room - buffer.shape[2], buffer.shape[3]))], dim=2)
            for buffer in (self.key_buffer, self.value_buffer)
        )

    def set_length(self, length: int) -> None:
        self.keys, self.values = self.key_buffer[:, :, :length], self.value_buffer[:, :, :length]

    def crop(self, tokens_to_remove: int) -> None:
        self.set_length(self.get_seq_length() - abs(tokens_to_remove))

    def batch_repeat_interleave(self, repeats: int) -> None:
        length = self.get_seq_length()
        self.key_buffer = self.key_buffer.repeat_interleave(repeats, dim=0)
        self.value_buffer = self.value_buffer.repeat_interleave(repeats, dim=0)
        self.set_length(length)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        length = self.get_seq_length()
        self.key_buffer, self.value_buffer = self.key_buffer[indices], self.value_buffer[indices]
        self.set_length(length)

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        self.batch_select_indices(beam_idx.to(self.device))


class SpeechState:
    """
    What decode steps read and add to.

    Args:
        layers (`list[RoomyLayer]`): keys and values of self-attention.
        text_layers (list of cache layers): those of cross-attention.
        allowed (`torch.BoolTensor` of shape `(batch_size, length)`, *optional*): columns that a row may see; without
            it all of them.
        text_allowed (`torch.BoolTensor` of shape `(batch_size, text_length)`, *optional*): likewise.
        lengths (`torch.LongTensor` of shape `(batch_size,)`, *optional*): columns that each row has, if not all have
            the same number.
    """

    def __init__(self, layers, text_layers, allowed=None, text_allowed=None, lengths=None):
        self.layers, self.text_layers = layers, text_layers
        self.lengths = lengths
        self.used = layers[0].get_seq_length()
        self.bias = None if allowed is None else self._bias(allowed, layers[0].keys)
        self.text_bias = None if text_allowed is None else self._bias(text_allowed, layers[0].keys)

    @staticmethod
    def _bias(allowed: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros(allowed.shape, dtype=states.dtype, device=states.device)
        return zeros.masked_fill_(~allowed.to(states.device), -torch.inf)[:, None, None]

    def open_column(self, windows: set[int]) -> tuple[torch.Tensor | None, dict[int, torch.Tensor]]:
        """
        Makes room for the next token of every row.

        Returns:
            what to add to the attention's scores, `(batch_size, 1, 1, used)` or None, and the same for each of
            `windows` that is narrower than what is used.
        """
        uniform = self.lengths is None
        self.column = self.used if uniform else self.lengths
        self.used = (self.used if uniform else int(self.lengths.max())) + 1
        for layer in self.layers:
            layer.reserve(self.used)
        keys = self.layers[0].key_buffer
        if self.bias is not None:
            if self.used > self.bias.shape[-1]:
                self.bias = nn.functional.pad(self.bias, (0, keys.shape[2] - self.bias.shape[-1]), value=-torch.inf)
            if uniform:
                self.bias[..., self.column] = 0.0
            else:
                self.rows = torch.arange(len(self.column), device=keys.device)
                self.bias[self.rows, 0, 0, self.column] = 0.0
        bias = None if self.bias is None else self.bias[..., : self.used]
        narrow = {}
        for window in windows:
            if self.used > window:
                places = torch.arange(self.used, device=keys.device)
                last = self.column if uniform else self.column[:, None, None, None]
                near = (places > last - window).expand(1, 1, 1, -1) if uniform else places > last - window
                everywhere = keys.new_zeros(()) if bias is None else bias
                narrow[window] = torch.where(near, everywhere, -torch.inf)
        return bias, narrow

    def append(self, index: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Puts the new column of layer `index` in place, `(batch_size, num_key_heads, head_dim)`; returns all that are
        used, `(batch_size, num_key_heads, used, head_dim)`.
        """
        layer = self.layers[index]
        if self.lengths is None:
            layer.key_buffer[:, :, self.column] = key
            layer.value_buffer[:, :, self.column] = value
        else:
            layer.key_buffer[self.rows, :, self.column] = key
            layer.value_buffer[self.rows, :, self.column] = value
        layer.set_length(self.used)
        return layer.keys, layer.values

    def close_column(self) -> None:
        if self.lengths is not None:
            self.lengths = self.lengths + 1


class SpeechCache(EncoderDecoderCache):
    """
    The cache of `generate`.

    Args:
        num_layers (`int`)
        capacity (`int`): tokens of the decoder to make room for, prompt included.
        fast_step (`DecodeStep`, *optional*): what the decoder is to take for single tokens, instead of its layers.

    No layer of it has a sliding window: what lies outside of one is masked, since hardly any speech is longer.
    """

    def __init__(self, num_layers: int, capacity: int, fast_step=None):
        super().__init__(Cache(layers=[RoomyLayer(capacity) for _ in range(num_layers)]), DynamicCache())
        self.fast_step = fast_step
        self.state: SpeechState | None = None

    def decode_state(self, mask: torch.Tensor, text_mask: torch.Tensor | None) -> SpeechState:
        """
        The state after the prompt, made once and kept from step to step.

        Args:
            mask (`torch.Tensor` of shape `(batch_size, length)`): 0 for the padding of prompts.
            text_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): 0 for that of texts.
        """
        if self.state is None:
            allowed = mask[:, : self.get_seq_length()] != 0
            text_allowed = None if text_mask is None else text_mask != 0
            self.state = SpeechState(
                self.self_attention_cache.layers,
                self.cross_attention_cache.layers,
                None if allowed.all() else allowed,
                None if text_allowed is None or text_allowed.all() else text_allowed,
            )
        return self.state


__all__ = ["RoomyLayer", "SpeechCache", "SpeechState"]
