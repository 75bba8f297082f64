"""KV-cache slots for continuous batching: a request takes a row when it starts and frees it when it ends.

Occupied rows are always the first ones: when a request ends, the last row is copied into its row. A decode step may
run on only the first rows while the others wait.
"""

from typing import Any

import torch

from .cache import DecodeState, PreallocatedLayer, SpeechCache, attention_bias


class DecodeSlots(DecodeState):
    """
    Decode state whose rows are added, removed and reordered between steps.

    Args:
        num_layers (`int`): decoder layers.
    """

    layers: list[PreallocatedLayer]
    text_layers: list[PreallocatedLayer]

    def __init__(self, num_layers: int):
        self.layers = [PreallocatedLayer(0) for _ in range(num_layers)]
        self.text_layers = [PreallocatedLayer(0) for _ in range(num_layers)]
        self.lengths = torch.zeros(0, dtype=torch.long)
        self.text_lengths = torch.zeros(0, dtype=torch.long)
        self.bias = self.text_bias = None
        self.num_columns = self.num_active = 0

    @property
    def num_rows(self) -> int:
        return len(self.lengths)

    def add(self, texts: list[tuple[torch.Tensor, torch.Tensor]], cache: SpeechCache | None, capacity: int) -> None:
        """
        Adds a row.

        Args:
            texts (list of pairs): cross-attention keys and values of each layer, both of shape
                `(1, num_key_heads, text_length, head_dim)`.
            cache (`SpeechCache`, *optional*): self-attention cache of the prompt; None if there are no tokens yet.
            capacity (`int`): decoder tokens to reserve.
        """
        self._activate_all()
        row, length, text_length = self.num_rows, 0 if cache is None else cache.get_seq_length(), texts[0][0].shape[2]
        for index, (keys, values) in enumerate(texts):
            layer, text_layer = self.layers[index], self.text_layers[index]
            text_layer.reserve_rows(row + 1, text_length, keys, values)
            text_layer.key_buffer[row, :, :text_length] = keys[0]
            text_layer.value_buffer[row, :, :text_length] = values[0]
            layer.reserve_rows(row + 1, capacity, keys, values)
            if cache is not None:
                prompt: Any = cache.self_attention_cache.layers[index]
                layer.key_buffer[row, :, :length] = prompt.keys[0]
                layer.value_buffer[row, :, :length] = prompt.values[0]
        self.lengths = torch.cat([self.lengths, torch.tensor([length])])
        self.text_lengths = torch.cat([self.text_lengths, torch.tensor([text_length])])
        self.num_active = 0

    def remove(self, row: int) -> None:
        """Frees `row`: the last row is copied into it."""
        last = self.num_rows - 1
        for layers, lengths in ((self.layers, self.lengths), (self.text_layers, self.text_lengths)):
            length = int(lengths[last])
            for layer in layers:
                for buffer in (layer.key_buffer, layer.value_buffer) if row != last else ():
                    buffer[row, :, :length] = buffer[last, :, :length]
        self.lengths[row], self.text_lengths[row] = self.lengths[last].clone(), self.text_lengths[last].clone()
        self.lengths, self.text_lengths = self.lengths[:last], self.text_lengths[:last]
        self.num_active = 0

    def swap(self, row: int, other: int) -> None:
        """Exchanges two rows."""
        for layers, lengths in ((self.layers, self.lengths), (self.text_layers, self.text_lengths)):
            pair = torch.tensor([row, other])
            length = int(lengths[pair].max())
            for layer in layers:
                for buffer in (layer.key_buffer, layer.value_buffer):
                    buffer[[row, other], :, :length] = buffer[[other, row], :, :length]
            lengths[pair] = lengths[pair.flip(0)]
        self.num_active = 0

    def activate(self, num_rows: int) -> None:
        """Selects the first `num_rows` rows for the next steps. Call it after `add`, `remove` and `swap`."""
        if self.num_active == num_rows:
            return
        self.num_active = num_rows
        lengths, text_lengths = self.lengths[:num_rows], self.text_lengths[:num_rows]
        self.num_columns, text_used = int(lengths.max()), int(text_lengths.max())
        for layers, used in ((self.layers, self.num_columns), (self.text_layers, text_used)):
            for layer in layers:
                layer.num_rows = num_rows
                layer.set_length(used)
        keys = self.layers[0].key_buffer
        self.rows = torch.arange(num_rows, device=keys.device)
        self.bias = None  # a single row attends to all columns
        if num_rows > 1:
            self.bias = attention_bias(torch.arange(keys.shape[2]) < lengths.unsqueeze(-1), keys)
        text_allowed = torch.arange(text_used) < text_lengths.unsqueeze(-1)
        self.text_bias = None if text_allowed.all() else attention_bias(text_allowed, keys)

    def _activate_all(self) -> None:
        """Selects all rows, because growing a buffer copies only the selected ones."""
        if self.num_rows:
            self.activate(self.num_rows)

    def _grow(self, length: int) -> None:
        if length > self.layers[0].key_buffer.shape[2]:
            num_active = self.num_active
            self._activate_all()
            super()._grow(length)
            self.activate(num_active)
        super()._grow(length)

    def allocate_column(self, windows: set[int]) -> tuple[torch.Tensor | None, dict[int | None, torch.Tensor]]:
        lengths = self.lengths[: self.num_active]
        self.column = int(lengths.max())
        self._grow(self.column + 1)
        self.columns = lengths.to(self.rows.device, copy=True)
        lengths += 1
        if self.bias is not None:
            self.bias[self.rows, 0, 0, self.columns] = 0.0
        return self._biases(windows, self.columns[:, None, None, None])

    def spans(self, window: int | None) -> list[slice] | None:
        if self.num_active == 1 and (window is None or self.num_columns <= window):
            return None
        ends = self.lengths[: self.num_active].tolist()
        return [slice(0 if window is None else max(0, end - window), end) for end in ends]

    def text_spans(self) -> list[slice] | None:
        return (
            None if self.num_active == 1 else [slice(0, end) for end in self.text_lengths[: self.num_active].tolist()]
        )

    def append(self, index: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        layer = self.layers[index]
        # for one row, a slice copy takes a third of the time of advanced indexing
        target: Any = (0, slice(None), self.column) if self.num_active == 1 else (self.rows, slice(None), self.columns)
        layer.key_buffer[target] = key
        layer.value_buffer[target] = value
        layer.set_length(self.num_columns)
        return layer.keys, layer.values


__all__ = ["DecodeSlots"]
