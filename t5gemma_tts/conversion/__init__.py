"""Converts checkpoints of the original project to this project's layout."""

from .bundle import load_bundle
from .checkpoint import convert_checkpoint


__all__ = ["convert_checkpoint", "load_bundle"]
