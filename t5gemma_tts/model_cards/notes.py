"""What a card says that no file of a checkpoint knows: Markdown by hand, section by section."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml


# those of the first kind stand in place of the template's words, the others after its tables
SECTIONS = ("Introduction", "Use", "Limits", "Licence", "Samples", "Evaluation", "Training")
METADATA = ("license", "language", "base_model", "datasets", "tags")


@dataclass
class Notes:
    """`sections` by their names in lower case, `metadata` for the head of the card."""

    sections: dict[str, str] = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)


def read_notes(path: str | Path) -> Notes:
    """
    Reads a Markdown file: headings of the second level are [`SECTIONS`], YAML between two lines of `---` at its head
    has any of [`METADATA`].

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for headings or metadata that a card has no place for.
    """
    text = Path(path).read_text(encoding="utf-8")
    metadata = {}
    if head := re.match(r"---\n(.*?)\n---\n", text, re.DOTALL):
        try:
            metadata = yaml.safe_load(head[1]) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"the head of {str(path)!r} is no YAML: {error}") from error
        text = text[head.end() :]
    before, *parts = re.split(r"^## +(.+?) *$", text, flags=re.MULTILINE)
    sections = {name.lower(): body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
    accepted = {name.lower() for name in SECTIONS}
    if before.strip() or sections.keys() - accepted:
        wrong = sorted(sections.keys() - accepted) or ["text before the first heading"]
        raise ValueError(f"{str(path)!r} has {wrong}; a card takes the sections {', '.join(SECTIONS)}.")
    if not isinstance(metadata, dict) or set(metadata) - set(METADATA):
        raise ValueError(f"the head of {str(path)!r} may have {', '.join(METADATA)}, got {metadata}.")
    return Notes(sections, metadata)


__all__ = ["Notes", "read_notes"]
