"""Hand-written Markdown for sections of a model card."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml


# Introduction, Use, Limits, Licence and Samples replace the text of the template, the others precede its tables
SECTIONS = ("Introduction", "Use", "Limits", "Licence", "Samples", "Evaluation", "Training")
METADATA = ("license", "language", "base_model", "datasets", "tags")


@dataclass
class Notes:
    """Card sections by lower-case name, and metadata for the YAML header of the card."""

    sections: dict[str, str] = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)


def read_notes(path: str | Path) -> Notes:
    """
    Reads a Markdown file with headings of level 2 from [`SECTIONS`] and an optional YAML header with keys of
    [`METADATA`].

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: for unknown headings or metadata keys.
    """
    text = Path(path).read_text(encoding="utf-8")
    metadata = {}
    if head := re.match(r"---\n(.*?)\n---\n", text, re.DOTALL):
        try:
            metadata = yaml.safe_load(head[1]) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"the header of {str(path)!r} is not valid YAML: {error}") from error
        text = text[head.end() :]
    before, *parts = re.split(r"^## +(.+?) *$", text, flags=re.MULTILINE)
    sections = {name.lower(): body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
    accepted = {name.lower() for name in SECTIONS}
    if before.strip() or sections.keys() - accepted:
        wrong = sorted(sections.keys() - accepted) or ["text before the first heading"]
        raise ValueError(f"{str(path)!r} has {wrong}; a card may have the sections {', '.join(SECTIONS)}.")
    if not isinstance(metadata, dict) or set(metadata) - set(METADATA):
        raise ValueError(f"the header of {str(path)!r} may have the keys {', '.join(METADATA)}, got {metadata}.")
    return Notes(sections, metadata)


__all__ = ["Notes", "read_notes"]
