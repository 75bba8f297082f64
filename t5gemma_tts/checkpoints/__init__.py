"""Checkpoints bundled with the package, in the layout of a Hub repository."""

from pathlib import Path


# a small English model, the default of the command line
NANO = str(Path(__file__).with_name("nano"))

__all__ = ["NANO"]
