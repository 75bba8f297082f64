"""Checkpoints that come with the package, as folders in the layout of a Hub repository."""

from pathlib import Path


# a small English voice: what speaks when no other model is named
NANO = str(Path(__file__).with_name("nano"))

__all__ = ["NANO"]
