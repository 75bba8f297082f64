"""KV cache allocated once per request, because PM-RoPE fixes the length of the speech in advance.

`generate` uses `SpeechCache`. The fast decode step reads and updates a `DecodeState`. A column is one token position of
the cache.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeGuard

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache

from .huge_pages import lazy_zeros


HUGE_PAGES_MIN_TOKENS = 2048  # tokens
FastStep = Callable[[torch.Tensor, torch.Tensor, "DecodeState"], torch.Tensor]  # `DecodeStep`, which imports this file


class PreallocatedLayer(DynamicLayer):
    """
    A cache layer with preallocated buffers for `capacity` tokens, doubled when they are full.

    `keys` and `values` are views of the used part of the buffers, so appending copies only the new tokens. Buffers
    start as zeros: masked columns have attention weight 0, and 0 times inf or NaN would be NaN.
    """

    keys: torch.Tensor  # set by the first update
    values: torch.Tensor

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = capacity
        self.num_rows: int | None = None  # None: all rows

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
        """Grows the buffers to at least `length` tokens and `num_rows` rows."""
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
        # huge pages allocate the buffer up front, which pays off only for long sequences
        return lazy_zeros((rows, num_heads, room, like.shape[-1]), like, huge=room >= HUGE_PAGES_MIN_TOKENS)

    def reserve_rows(self, num_rows: int, length: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """As `reserve`, also before the first update: heads, head size and dtype are those of `keys` and `values`."""
        if not self.is_initialized:
            self.capacity = length
            shape = (num_rows, keys.shape[1], 0, keys.shape[3])
            self.lazy_initialization(keys.new_empty(shape), values.new_empty((*shape[:3], values.shape[3])))
        self.reserve(length, num_rows)

    def set_length(self, length: int) -> None:
        """Makes `keys` and `values` views of the first `length` tokens of the first `num_rows` rows."""
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


class KeyValueLayer(Protocol):
    """A cache layer that holds keys and values."""

    keys: torch.Tensor
    values: torch.Tensor


class DecodeState:
    """
    KV cache and attention biases that the decode step reads and updates. All rows append to the same column.

    Args:
        layers (`list[PreallocatedLayer]`): self-attention keys and values.
        text_layers (list of cache layers): cross-attention keys and values.
        allowed (`torch.BoolTensor` of shape `(batch_size, length)`, *optional*): True where a row attends to a column;
            all columns if not given.
        text_allowed (`torch.BoolTensor` of shape `(batch_size, text_length)`, *optional*): the same for text tokens.
    """

    def __init__(
        self,
        layers: list[PreallocatedLayer],
        text_layers: Sequence[KeyValueLayer],
        allowed: torch.Tensor | None = None,
        text_allowed: torch.Tensor | None = None,
    ):
        self.layers, self.text_layers = layers, text_layers
        self.num_columns = layers[0].get_seq_length()
        self.bias = None if allowed is None else attention_bias(allowed, layers[0].keys)
        self.text_bias = None if text_allowed is None else attention_bias(text_allowed, layers[0].keys)

    def allocate_column(self, windows: set[int]) -> tuple[torch.Tensor | None, dict[int | None, torch.Tensor]]:
        """
        Reserves the column of the next token of every row.

        Args:
            windows (`set[int]`): sliding windows of the layers, in tokens.

        Returns:
            `(bias, window_biases)`: the additive attention bias `(batch_size, 1, 1, num_columns)` or None, and a bias
            of that shape for each window shorter than the cache.
        """
        self.column = self.num_columns
        self._grow(self.num_columns + 1)
        if self.bias is not None:
            self.bias[..., self.column] = 0.0
        return self._biases(windows, self.column)

    def _grow(self, length: int) -> None:
        self.num_columns = length
        for layer in self.layers:
            layer.reserve(length)
        if self.bias is not None and length > self.bias.shape[-1]:
            missing = self.layers[0].key_buffer.shape[2] - self.bias.shape[-1]
            self.bias = nn.functional.pad(self.bias, (0, missing), value=-torch.inf)

    def _biases(
        self, windows: set[int], last: int | torch.Tensor
    ) -> tuple[torch.Tensor | None, dict[int | None, torch.Tensor]]:
        bias = None if self.bias is None else self.bias[..., : self.num_columns]
        narrow: dict[int | None, torch.Tensor] = {}
        for window in windows:
            if self.num_columns > window:
                keys = self.layers[0].key_buffer
                near = torch.arange(self.num_columns, device=keys.device).view(1, 1, 1, -1) > last - window
                narrow[window] = torch.where(near, keys.new_zeros(()) if bias is None else bias, -torch.inf)
        return bias, narrow

    def spans(self, window: int | None) -> list[slice] | None:
        """The columns that each row attends to, one slice per row; None if the bias must be used instead."""
        return None

    def text_spans(self) -> list[slice] | None:
        """The text tokens that each row attends to, likewise."""
        return None

    def append(self, index: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Writes the new column of layer `index`.

        Args:
            index (`int`): decoder layer.
            key, value (`torch.Tensor` of shape `(batch_size, num_key_heads, head_dim)`)

        Returns:
            All keys and all values, `(batch_size, num_key_heads, num_columns, head_dim)` each.
        """
        layer = self.layers[index]
        layer.key_buffer[:, :, self.column] = key
        layer.value_buffer[:, :, self.column] = value
        layer.set_length(self.num_columns)
        return layer.keys, layer.values


def attention_bias(allowed: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """(batch_size, length) -> additive bias (batch_size, 1, 1, length) with the dtype and device of `states`."""
    zeros = torch.zeros(allowed.shape, dtype=states.dtype, device=states.device)
    return zeros.masked_fill_(~allowed.to(states.device), -torch.inf)[:, None, None]


class SpeechCache(EncoderDecoderCache):
    """
    The cache of `generate`.

    No layer evicts tokens outside its sliding window; they are masked instead, because few speeches exceed the window.

    Args:
        num_layers (`int`): decoder layers.
        capacity (`int`): decoder tokens to reserve, including the prompt.
        fast_step (`DecodeStep`, *optional*): runs single tokens in place of the model's layers.
    """

    def __init__(self, num_layers: int, capacity: int, fast_step: FastStep | None = None):
        super().__init__(Cache(layers=[PreallocatedLayer(capacity) for _ in range(num_layers)]), DynamicCache())
        self.fast_step = fast_step
        self.state: DecodeState | None = None

    def can_fast_step(self, decoder_input_ids: torch.Tensor | None) -> TypeGuard[torch.Tensor]:
        """Whether the fast step can run this input: one token per row after a prompt."""
        if self.fast_step is None or decoder_input_ids is None or decoder_input_ids.shape[1] != 1:
            return False
        return self.get_seq_length() > 0

    def decode_state(self, mask: torch.Tensor, text_mask: torch.Tensor | None) -> DecodeState:
        """
        Returns the decode state, built after the prompt at the first call and reused afterwards.

        Args:
            mask (`torch.Tensor` of shape `(batch_size, length)`): 0 at padding of the decoder's tokens.
            text_mask (`torch.Tensor` of shape `(batch_size, text_length)`, *optional*): 0 at padding of the text.
        """
        if self.state is None:
            allowed = mask[:, : self.get_seq_length()] != 0
            text_allowed = None if text_mask is None else text_mask != 0
            layers: Any = self.self_attention_cache.layers  # `PreallocatedLayer`s
            text_layers: Any = self.cross_attention_cache.layers  # filled by the prompt
            self.state = DecodeState(
                layers,
                text_layers,
                None if allowed.all() else allowed,
                None if text_allowed is None or text_allowed.all() else text_allowed,
            )
        return self.state


__all__ = ["PreallocatedLayer", "SpeechCache", "DecodeState", "attention_bias"]
