"""Names that clients send for models and voices, and what this server uses for them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from .errors import NotFound
from .voices import DEFAULT_VOICE, VOICE_NAME


COMMON_MODELS = ("gpt-4o-mini-tts", "tts-1", "tts-1-hd")  # model names that clients send by default
STOCK_VOICES = (  # OpenAI's voices, which clients send by default
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)
MAX_ALIAS_CHARACTERS = 100
MAX_LISTED_NAMES, MAX_LISTED_CHARACTERS = 20, 64
SAFE_IN_HEADERS = "!#$&'()*+./:<=>?@[]^_`{|}~"


@dataclass(frozen=True)
class Names:
    """
    The model names and voice aliases of a server.

    Args:
        models (sequence of `str`): names of the model; the first one is reported to clients that send another.
        strict_models (`bool`): refuse other names.
        voice_aliases (mapping): name that clients send -> stored voice, or "default".

    Raises:
        ValueError: if there is no model name, or an alias is not valid.
    """

    models: Sequence[str] = ("t5gemma-tts",)
    strict_models: bool = False
    voice_aliases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("`models` must have at least one name.")
        for alias, voice in self.voice_aliases.items():
            check_alias(alias, voice)

    def check_without_voices(self) -> None:
        """
        Raises:
            ValueError: if an alias names a voice other than "default", which a server without stored voices lacks.
        """
        for alias, voice in self.voice_aliases.items():
            if voice != DEFAULT_VOICE:
                raise ValueError(f"the alias {alias!r} names the voice {voice!r}, but there is no --voices-dir.")

    def listed_models(self) -> list[str]:
        """The model's own names, and those that clients ask for most unless `strict_models`."""
        others = () if self.strict_models else COMMON_MODELS
        return list(dict.fromkeys((*self.models, *others)))

    def model(self, name: str | None) -> str:
        """
        The name of the model that serves a request for `name`.

        Raises:
            NotFound: with `strict_models`, if `name` is given and is none of `models`.
        """
        if name is None or name in self.models:
            return name or self.models[0]
        if self.strict_models:
            known = ", ".join(map(repr, self.models))
            raise NotFound(f"there is no model {name!r:.200}; this server has {known}.", param="model")
        return self.models[0]

    def voice(self, name: str, stored: Sequence[str]) -> str:
        """
        The voice for `name`: its alias, else the stored voice of that name, else "default" for OpenAI's voices.

        Args:
            name (`str`): name that the client sent.
            stored (sequence of `str`): names of the stored voices.

        Returns:
            `str`: "default", or a name that may be stored or not.
        """
        if name in self.voice_aliases:
            return self.voice_aliases[name]
        return DEFAULT_VOICE if name in STOCK_VOICES and name not in stored else name


def check_alias(alias: str, voice: str) -> None:
    """
    Raises:
        ValueError: if `alias` is empty, too long or "default", or `voice` is no name of a voice.
    """
    if not alias.strip() or not alias.isprintable() or len(alias) > MAX_ALIAS_CHARACTERS:
        raise ValueError(
            f"the name in a voice alias must be 1 to {MAX_ALIAS_CHARACTERS} printable characters, got {alias!r:.200}."
        )
    if alias == DEFAULT_VOICE:
        raise ValueError(f"{DEFAULT_VOICE!r} is the model's own voice and cannot be an alias.")
    if not VOICE_NAME.fullmatch(voice):
        raise ValueError(
            f"the alias {alias!r} must name a stored voice (of a-z, 0-9, '_', '-') or {DEFAULT_VOICE!r}, got "
            f"{voice!r:.200}."
        )


def parse_aliases(entries: Sequence[str], path: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """
    Reads aliases.

    Args:
        entries (sequence of `str`): aliases, each as `NAME=VOICE`.
        path (`str`, *optional*): file with such an entry on each line. Blank lines and lines that start with # are
            ignored. `entries` win over the file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not UTF-8 text, or an entry is not valid.
    """
    lines: list[str] = []
    if path is not None:
        try:
            lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError:
            raise ValueError(f"{os.fspath(path)!r} must be a text file of voice aliases, in UTF-8.") from None
    aliases = {}
    for entry in (*(line for line in lines if line and not line.startswith("#")), *entries):
        alias, separator, voice = (part.strip() for part in entry.partition("="))
        if not separator:
            raise ValueError(f"a voice alias must look like alloy=anna, got {entry!r:.200}.")
        check_alias(alias, voice)
        aliases[alias] = voice
    return aliases


def header_value(text: str) -> str:
    """`text` as the value of an HTTP header: percent-encoded but for visible ASCII characters; `""` if it is empty."""
    return quote(text, safe=SAFE_IN_HEADERS, errors="backslashreplace") or '""'


def header_list(names: Sequence[str]) -> str:
    """Names from a client as the value of a header: the first ones, shortened, and percent-encoded as needed."""
    shown = [header_value(name[:MAX_LISTED_CHARACTERS]) for name in names[:MAX_LISTED_NAMES]]
    return ", ".join(shown if len(shown) == len(names) else [*shown, "..."])


__all__ = ["COMMON_MODELS", "STOCK_VOICES", "Names", "header_list", "header_value", "parse_aliases"]
