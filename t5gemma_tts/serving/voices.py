"""Stored voices: one folder each, with its audio codes and a JSON record."""

import hashlib
import json
import os
import re
import secrets
import shutil
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..model.validation import is_finite_number
from ..model.xcodec2 import XCodec2
from .errors import BadRequest, Conflict, NotFound


NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
DEFAULT_VOICE = "default"  # the model's own, without a reference
CODES_FILE, RECORD_FILE = "codes.safetensors", "voice.json"


@dataclass(frozen=True)
class Voice:
    """
    Args:
        name (`str`)
        codes (`tuple[int, ...]`): of the recording, by the codec.
        reference_text (`str`): what is said in it.
        consent (`bool`): that whoever is heard agreed to being imitated.
        codec (`str`): as `codec_fingerprint` calls the codec that made the codes.
        duration_seconds (`float`): of the recording.
        created (`str`): date and time, ISO 8601 in UTC.
    """

    name: str
    codes: tuple[int, ...]
    reference_text: str
    consent: bool
    codec: str
    duration_seconds: float
    created: str

    def __post_init__(self) -> None:
        """ValueError for fields of other types, which a file can have."""
        for field in fields(self):
            accepted = {"codes": tuple, "duration_seconds": int | float, "consent": bool}.get(field.name, str)
            if not isinstance(value := getattr(self, field.name), accepted):
                raise ValueError(f"`{field.name}` of a voice cannot be {value!r:.100}.")
            if isinstance(value, str):
                value.encode("utf-8")  # halves of surrogate pairs cannot be sent
        if not self.codes or not self.reference_text.strip() or not is_finite_number(self.duration_seconds):
            raise ValueError("a voice has codes, a text and a duration.")

    def record(self) -> dict[str, Any]:
        """All but the codes."""
        record = asdict(self)
        del record["codes"]
        return record


def check_name(name: str) -> str:
    """
    Raises:
        BadRequest: unless it is a plain name, the same on every file system.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadRequest(
            "the name of a voice must be 1 to 64 of a-z, 0-9, '_' and '-', and begin with a letter or digit, got "
            f"{name!r:.100}.",
            param="name",
        )
    return name


def codec_fingerprint(codec: XCodec2) -> str:
    """16 hex digits for the meaning of a codec's codes: two codecs that share a quantiser have the same."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.model.quantizer.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


class VoiceStore:
    """
    Voices in a folder, read from there whenever one is asked for, so that several servers can share it.

    Args:
        folder (`Path`): made if it does not exist.
        codec (`str`): fingerprint of the codec in use; voices of others are refused.
        max_voices (`int`): that may be kept.
    """

    def __init__(self, folder: str | os.PathLike[str], codec: str, max_voices: int = 1000):
        self.folder, self.codec, self.max_voices = Path(folder), codec, max_voices
        self.folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir())

    def voices(self) -> list[Voice]:
        """All that can be read, by name; damaged ones and those of another codec are left out."""
        found = []
        for name in self.names():
            try:
                found.append(self.get(name))
            except (BadRequest, NotFound):
                continue
        return found

    def get(self, name: str) -> Voice:
        """
        Raises:
            BadRequest: for a name that none can have, or a voice that cannot be used with this codec.
            NotFound: if there is no such voice.
        """
        path = self.folder / check_name(name)
        try:
            record = json.loads((path / RECORD_FILE).read_text(encoding="utf-8"))
            codes = load_file(path / CODES_FILE)["codes"]
            if codes.ndim != 1 or codes.dtype.kind not in "iu":
                raise ValueError("these are no codes")
            voice = Voice(codes=tuple(codes.tolist()), **record)
            if voice.name != name:
                raise ValueError(f"the voice of {voice.name!r}")
        except FileNotFoundError as error:
            raise NotFound(f"there is no voice {name!r}.", param="voice") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            raise BadRequest(f"the stored voice {name!r} is damaged; delete it.", param="voice") from error
        if voice.codec != self.codec:
            raise BadRequest(f"the voice {name!r} was recorded with another codec; record it anew.", param="voice")
        return voice

    def add(self, name: str, codes: list[int], reference_text: str, duration_seconds: float, consent: bool) -> Voice:
        """
        Keeps a voice: after a crash at any point it is there as a whole, or not at all.

        Raises:
            BadRequest: for a bad name, without consent, or if there are `max_voices` already.
            Conflict: if there is a voice of that name.
            OSError: if it cannot be written.
        """
        if check_name(name) == DEFAULT_VOICE:
            raise BadRequest(f"{DEFAULT_VOICE!r} is the name of the model's own voice.", param="name")
        if consent is not True:
            raise BadRequest(
                "`consent` must be true: whoever is heard in the recording has to agree to being imitated.",
                param="consent",
            )
        taken = Conflict(f"there is a voice {name!r} already; delete it first.", param="name")
        if (self.folder / name).exists():
            raise taken
        if len(self.names()) >= self.max_voices:
            raise BadRequest(f"there are {self.max_voices} voices already, the most that are kept.", param="name")
        voice = Voice(
            name=name,
            codes=tuple(codes),
            reference_text=reference_text,
            consent=True,
            codec=self.codec,
            duration_seconds=duration_seconds,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        draft = self._aside()
        draft.mkdir()
        try:
            save_file({"codes": np.asarray(codes, dtype=np.int32)}, draft / CODES_FILE)
            record = json.dumps(voice.record(), ensure_ascii=False, indent=2)
            (draft / RECORD_FILE).write_text(record + "\n", encoding="utf-8")
            for path in (draft / CODES_FILE, draft / RECORD_FILE, draft):
                _to_disk(path)
            draft.rename(self.folder / name)  # fails if somebody else was first: their folder is not empty
            _to_disk(self.folder)
        except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
            if (self.folder / name).exists():
                raise taken from error
            raise OSError(f"the voice {name!r} cannot be written: {error}.") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return voice

    def delete(self, name: str) -> None:
        """
        Raises:
            BadRequest: for a name that none can have.
            NotFound: if there is no such voice.
        """
        gone = self._aside()
        try:
            (self.folder / check_name(name)).rename(gone)
        except FileNotFoundError as error:
            raise NotFound(f"there is no voice {name!r}.", param="name") from error
        shutil.rmtree(gone)

    def _aside(self) -> Path:
        """A path in the folder that is no voice's."""
        return self.folder / f".{secrets.token_hex(8)}"


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["DEFAULT_VOICE", "Voice", "VoiceStore", "check_name", "codec_fingerprint"]
