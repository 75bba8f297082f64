"""Places for speeches that come and go: rows of keys and values, filled from a prompt and given up at the end.

Rows in use are always the first ones: the last moves into the place that falls free, which copies one row and no more.
"""

import torch

from .cache_t5gemma_tts import RoomyLayer, SpeechCache, SpeechState, attention_bias


class SpeechSlots(SpeechState):
    """
    The state of decode steps whose rows change in between.

    Args:
        num_layers (`int`)
        max_rows (`int`)
    """

    def __init__(self, num_layers: int, max_rows: int):
        self.max_rows = max_rows
        self.layers = [RoomyLayer(0) for _ in range(num_layers)]
        self.text_layers = [RoomyLayer(0) for _ in range(num_layers)]
        self.lengths = torch.zeros(0, dtype=torch.long)
        self.text_lengths = torch.zeros(0, dtype=torch.long)
        self.bias = self.text_bias = None
        self.used = 0

    @property
    def num_rows(self) -> int:
        return len(self.lengths)

    def add(self, cache: SpeechCache, mask: torch.Tensor, text_mask: torch.Tensor, room: int) -> None:
        """
        Takes over the rows of `cache` after its prompt.

        Args:
            mask (`torch.Tensor` of shape `(batch_size, prompt_length)`): 0 for padding on the left.
            text_mask (`torch.Tensor` of shape `(batch_size, text_length)`): 0 for padding on the right.
            room (`int`): tokens that the longest of these rows will need, prompt included.
        """
        first, count = self.num_rows, len(mask)
        lengths, text_lengths = mask.sum(-1).cpu(), text_mask.sum(-1).cpu()
        pairs = [
            (self.layers, cache.self_attention_cache.layers, lengths, room, False),
            (self.text_layers, cache.cross_attention_cache.layers, text_lengths, int(text_lengths.max()), True),
        ]
        for layers, sources, row_lengths, wanted, from_left in pairs:
            for layer, source in zip(layers, sources, strict=True):
                layer.reserve_rows(self.max_rows, wanted, source.keys, source.values)
                for row, length in enumerate(row_lengths.tolist()):
                    part = slice(0, length) if from_left else slice(source.keys.shape[2] - length, None)
                    layer.key_buffer[first + row, :, :length] = source.keys[row, :, part]
                    layer.value_buffer[first + row, :, :length] = source.values[row, :, part]
                layer.num_rows = first + count
        self.lengths = torch.cat([self.lengths, lengths])
        self.text_lengths = torch.cat([self.text_lengths, text_lengths])
        self._rebuild()

    def remove(self, row: int) -> None:
        """Gives up `row`; the last row takes its number."""
        last = self.num_rows - 1
        for layers, lengths in ((self.layers, self.lengths), (self.text_layers, self.text_lengths)):
            length = int(lengths[last])
            for layer in layers:
                if row != last:
                    layer.key_buffer[row, :, :length] = layer.key_buffer[last, :, :length]
                    layer.value_buffer[row, :, :length] = layer.value_buffer[last, :, :length]
                layer.num_rows = last
        self.lengths[row], self.text_lengths[row] = self.lengths[last].clone(), self.text_lengths[last].clone()
        self.lengths, self.text_lengths = self.lengths[:last], self.text_lengths[:last]
        self._rebuild()

    def _rebuild(self) -> None:
        """What steps derive from the lengths, anew: rows have come or gone."""
        if not self.num_rows:
            return
        self.used, text_used = int(self.lengths.max()), int(self.text_lengths.max())
        for layer in self.layers:
            layer.set_length(self.used)
        for layer in self.text_layers:
            layer.set_length(text_used)
        keys = self.layers[0].key_buffer
        self.rows = torch.arange(self.num_rows, device=keys.device)
        self.bias = attention_bias(torch.arange(keys.shape[2]) < self.lengths.unsqueeze(-1), keys)
        text_allowed = torch.arange(text_used) < self.text_lengths.unsqueeze(-1)
        self.text_bias = None if text_allowed.all() else attention_bias(text_allowed, keys)

    def open_column(self, windows: set[int]) -> tuple[torch.Tensor | None, dict[int, torch.Tensor]]:
        self._use(int(self.lengths.max()) + 1)
        self.columns = self.lengths.to(self.rows.device)
        self.lengths = self.lengths + 1
        self.bias[self.rows, 0, 0, self.columns] = 0.0
        return self._biases(windows, self.columns[:, None, None, None])

    def append(self, index: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        layer = self.layers[index]
        layer.key_buffer[self.rows, :, self.columns] = key
        layer.value_buffer[self.rows, :, self.columns] = value
        layer.set_length(self.used)
        return layer.keys, layer.values


__all__ = ["SpeechSlots"]
