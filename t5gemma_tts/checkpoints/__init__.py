"""Checkpoints bundled with the package, in the layout of a Hub repository."""

from pathlib import Path


# a small English model, the default of the command line
NANO = str(Path(__file__).with_name("nano"))


def resolve_checkpoint(name: str) -> str:
    """Returns the folder of the bundled checkpoint "nano", unless the working directory has a "nano"; else `name`."""
    return NANO if name == "nano" and not Path(name).exists() else name


__all__ = ["NANO", "resolve_checkpoint"]
