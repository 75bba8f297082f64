"""KV cache allocated once per speech, because PM-RoPE fixes the length of a speech beforehand.

`SpeechCache` is what `generate` hands from step to step, `SpeechState` what a decode step works on: rows may be of
different lengths, each adding its next column where it is.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeGuard

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache

from .huge_pages import untouched_zeros


LONG_SPEECH = 2048  # tokens
FastStep = Callable[[torch.Tensor, torch.Tensor, "SpeechState"], torch.Tensor]  # `DecodeStep`, which imports this file


class PreallocatedLayer(DynamicLayer):
    """
    A cache layer with room for `capacity` tokens; it doubles when that is not enough.

    `keys` and `values` are views of the used part of the buffers, so that appending copies nothing else. Buffers start
    as zeros: what a row may not see is multiplied by nothing, which would not do for infinities.
    """

    keys: torch.Tensor  # from the first update on
    values: torch.Tensor

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = capacity
        self.num_rows: int | None = None  # all

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        rows, num_heads = key_states.shape[:2]
        self.key_buffer, self.value_buffer = (
            self._buffer(rows, num_heads, self.capacity, states) for states in (key_states, value_states)
        )
        self.set_length(0)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length, added = self.get_seq_length(), key_states.shape[-2]
        self.reserve(length + added)
        self.key_buffer[:, :, length : length + added] = key_states
        self.value_buffer[:, :, length : length + added] = value_states
        self.set_length(length + added)
        return self.keys, self.values

    def reserve(self, length: int, num_rows: int = 0) -> None:
        """Room for `length` tokens in every row, and for `num_rows` rows."""
        rows, _, room, _ = self.key_buffer.shape
        if length <= room and num_rows <= rows:
            return
        rows = rows if num_rows <= rows else max(num_rows, 2 * rows)
        room = room if length <= room else max(length, 2 * room)
        larger = []
        for buffer, used in ((self.key_buffer, self.keys), (self.value_buffer, self.values)):
            larger.append(self._buffer(rows, buffer.shape[1], room, buffer))
            larger[-1][: used.shape[0], :, : used.shape[2]] = used
        self.key_buffer, self.value_buffer = larger

    @staticmethod
    def _buffer(rows: int, num_heads: int, room: int, like: torch.Tensor) -> torch.Tensor:
        # huge pages make all of them take memory at once, which pays where reading them takes most of the time
        return untouched_zeros((rows, num_heads, room, like.shape[-1]), like, huge=room >= LONG_SPEECH)

    def reserve_rows(self, num_rows: int, length: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Room for `num_rows` rows of `length` tokens like those of `keys` and `values`."""
        if not self.is_initialized:
            self.capacity = length
            shape = (num_rows, keys.shape[1], 0, keys.shape[3])
            self.lazy_initialization(keys.new_empty(shape), values.new_empty((*shape[:3], values.shape[3])))
        self.reserve(length, num_rows)

    def set_length(self, length: int) -> None:
        """Shows the first `length` tokens of the first `num_rows` rows."""
        self.keys, self.values = self.key_buffer.narrow(2, 0, length), self.value_buffer.narrow(2, 0, length)
        if self.num_rows is not None and self.num_rows < len(self.key_buffer):
            self.keys, self.values = self.keys[: self.num_rows], self.values[: self.num_rows]

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

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        self.batch_select_indices(beam_idx.to(self.device))


class FilledLayer(Protocol):
    """A cache layer with something in it."""

    keys: torch.Tensor
    values: torch.Tensor


class SpeechState:
    """
    What decode steps read and add to, for rows that all add the same column.

    Args:
        layers (`list[PreallocatedLayer]`): keys and values of self-attention.
        text_layers (list of cache layers): those of cross-attention.
        allowed (`torch.BoolTensor` of shape `(batch_size, length)`, *optional*): columns that a row may see; without
            it all of them.
        text_allowed (`torch.BoolTensor` of shape `(batch_size, text_length)`, *optional*): likewise.
    """

    def __init__(
        self,
        layers: list[PreallocatedLayer],
        text_layers: Sequence[FilledLayer],
        allowed: torch.Tensor | None = None,
        text_allowed: torch.Tensor | None = None,
    ):
        self.layers, self.text_layers = layers, text_layers
        self.used = layers[0].get_seq_length()
        self.bias = None if allowed is None else attention_bias(allowed, layers[0].keys)
        self.text_bias = None if text_allowed is None else attention_bias(text_allowed, layers[0].keys)

    def open_column(self, windows: set[int]) -> tuple[torch.Tensor | None, dict[int | None, torch.Tensor]]:
        """
        Makes room for the next token of every row.

        Returns:
            what to add to the attention's scores, `(batch_size, 1, 1, used)` or None, and the same for each of
            `windows` that is narrower than what is used.
        """
        self.column = self.used
        self._use(self.used + 1)
        if self.bias is not None:
            self.bias[..., self.column] = 0.0
        return self._biases(windows, self.column)

    def _use(self, length: int) -> None:
        self.used = length
        for layer in self.layers:
            layer.reserve(length)
        if self.bias is not None and length > self.bias.shape[-1]:
            missing = self.layers[0].key_buffer.shape[2] - self.bias.shape[-1]
            self.bias = nn.functional.pad(self.bias, (0, missing), value=-torch.inf)

    def _biases(
        self, windows: set[int], last: int | torch.Tensor
    ) -> tuple[torch.Tensor | None, dict[int | None, torch.Tensor]]:
        bias = None if self.bias is None else self.bias[..., : self.used]
        narrow: dict[int | None, torch.Tensor] = {}
        for window in windows:
            if self.used > window:
                keys = self.layers[0].key_buffer
                near = torch.arange(self.used, device=keys.device).view(1, 1, 1, -1) > last - window
                narrow[window] = torch.where(near, keys.new_zeros(()) if bias is None else bias, -torch.inf)
        return bias, narrow

    def spans(self, window: int | None) -> list[slice] | None:
        """The columns that each row sees, if rows are complete up to their last one; None if they are padded."""
        return None

    def text_spans(self) -> list[slice] | None:
        """Likewise those of its text."""
        return None

    def append(self, index: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Puts the new column of layer `index` in place, `(batch_size, num_key_heads, head_dim)`; returns all that are
        used, `(batch_size, num_key_heads, used, head_dim)`.
        """
        layer = self.layers[index]
        layer.key_buffer[:, :, self.column] = key
        layer.value_buffer[:, :, self.column] = value
        layer.set_length(self.used)
        return layer.keys, layer.values


def attention_bias(allowed: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """(batch_size, length) -> what to add to scores, (batch_size, 1, 1, length), of the kind of `states`."""
    zeros = torch.zeros(allowed.shape, dtype=states.dtype, device=states.device)
    return zeros.masked_fill_(~allowed.to(states.device), -torch.inf)[:, None, None]


class SpeechCache(EncoderDecoderCache):
    """
    The cache of `generate`.

    Args:
        num_layers (`int`)
        capacity (`int`): tokens of the decoder to make room for, prompt included.
        fast_step (`DecodeStep`, *optional*): what the model is to take for single tokens, instead of its layers.

    No layer of it has a sliding window: what lies outside of one is masked, since hardly any speech is longer.
    """

    def __init__(self, num_layers: int, capacity: int, fast_step: FastStep | None = None):
        super().__init__(Cache(layers=[PreallocatedLayer(capacity) for _ in range(num_layers)]), DynamicCache())
        self.fast_step = fast_step
        self.state: SpeechState | None = None

    def takes(self, decoder_input_ids: torch.Tensor | None) -> TypeGuard[torch.Tensor]:
        """Whether this input is for the fast step: one token after a prompt."""
        if self.fast_step is None or decoder_input_ids is None or decoder_input_ids.shape[1] != 1:
            return False
        return self.get_seq_length() > 0

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
            layers: Any = self.self_attention_cache.layers  # `PreallocatedLayer`s
            text_layers: Any = self.cross_attention_cache.layers  # filled by the prompt
            self.state = SpeechState(
                layers,
                text_layers,
                None if allowed.all() else allowed,
                None if text_allowed is None or text_allowed.all() else text_allowed,
            )
        return self.state


__all__ = ["PreallocatedLayer", "SpeechCache", "SpeechState", "attention_bias"]
