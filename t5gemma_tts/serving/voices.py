"""Stored voices: a folder for each, with its audio codes and a JSON file of metadata."""

import hashlib
import json
import os
import re
import secrets
import shutil
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..model.validation import is_finite_number
from ..model.xcodec2 import XCodec2
from .errors import BadRequest, Conflict, NotFound


VOICE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
DEFAULT_VOICE = "default"  # the model's own voice, without a reference
CODES_FILE, METADATA_FILE = "codes.safetensors", "voice.json"


@dataclass(frozen=True)
class Voice:
    """
    A voice to clone, as it is stored.

    Args:
        name (`str`): name that clients use.
        codes (`tuple[int, ...]`): audio codes of the recording.
        reference_text (`str`): transcript of the recording.
        consent (`bool`): whether the speaker agreed to be cloned.
        codec (`str`): fingerprint of the codec that made the codes, from `codec_fingerprint`.
        duration_seconds (`float`): duration of the recording.
        created (`str`): date and time in UTC, ISO 8601.

    Raises:
        ValueError: for a field of a wrong type, as a damaged file can have.
    """

    name: str
    codes: tuple[int, ...]
    reference_text: str
    consent: bool
    codec: str
    duration_seconds: float
    created: str

    def __post_init__(self) -> None:
        for field in fields(self):
            accepted = {"codes": tuple, "duration_seconds": int | float, "consent": bool}.get(field.name, str)
            if not isinstance(value := getattr(self, field.name), accepted):
                raise ValueError(f"`{field.name}` of a voice must not be {value!r:.100}.")
            if isinstance(value, str):
                value.encode("utf-8")  # raises for lone surrogates, which a JSON response cannot hold
        if not self.codes or not self.reference_text.strip() or not is_finite_number(self.duration_seconds):
            raise ValueError("a voice must have codes, a transcript and a duration.")

    def metadata(self) -> dict[str, Any]:
        """All fields but the codes."""
        metadata = asdict(self)
        del metadata["codes"]
        return metadata


def check_voice_name(name: str) -> str:
    """
    Returns `name` if it is a valid name of a voice.

    Raises:
        BadRequest: if it is not a short lowercase name, which is safe as a file name everywhere.
    """
    if not isinstance(name, str) or not VOICE_NAME.fullmatch(name):
        raise BadRequest(
            "the name of a voice must be 1 to 64 of a-z, 0-9, '_' and '-', and begin with a letter or digit, got "
            f"{name!r:.100}.",
            param="name",
        )
    return name


def codec_fingerprint(codec: XCodec2) -> str:
    """16 hex digits that identify the quantizer of a codec: codes are interchangeable between codecs that share it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.model.quantizer.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


class VoiceStore:
    """
    Stores voices in a folder. Each access reads the files, so that several servers can share the folder.

    Args:
        folder (`Path`): folder of the voices; created if it does not exist.
        codec (`str`): fingerprint of the codec in use; voices of other codecs cannot be used.
        max_voices (`int`): most voices in the folder.
    """

    def __init__(self, folder: str | os.PathLike[str], codec: str, max_voices: int = 1000):
        self.folder, self.codec, self.max_voices = Path(folder), codec, max_voices
        self.folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """Sorted names of the stored voices, damaged ones included."""
        return sorted(path.name for path in self.folder.iterdir() if VOICE_NAME.fullmatch(path.name) and path.is_dir())

    def voices(self) -> list[Voice]:
        """The usable voices, sorted by name. Damaged voices and those of another codec are left out."""
        found = []
        for name in self.names():
            try:
                found.append(self.get(name))
            except (BadRequest, NotFound):
                continue
        return found

    def get(self, name: str) -> Voice:
        """
        Reads a voice.

        Raises:
            BadRequest: if the name is invalid, the voice is damaged, or another codec made it.
            NotFound: if there is no such voice.
        """
        path = self.folder / check_voice_name(name)
        try:
            metadata = json.loads((path / METADATA_FILE).read_text(encoding="utf-8"))
            codes = load_file(path / CODES_FILE)["codes"]
            if codes.ndim != 1 or codes.dtype.kind not in "iu":
                raise ValueError("`codes` must be a vector of integers")
            voice = Voice(codes=tuple(codes.tolist()), **metadata)
            if voice.name != name:
                raise ValueError(f"the name in the file is {voice.name!r}")
        except FileNotFoundError as error:
            raise NotFound(f"there is no voice {name!r}.", param="voice") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            raise BadRequest(f"the stored voice {name!r} is damaged; delete it.", param="voice") from error
        if voice.codec != self.codec:
            raise BadRequest(f"another codec encoded the voice {name!r}; delete it and add it again.", param="voice")
        return voice

    def add(self, name: str, codes: list[int], reference_text: str, duration_seconds: float, consent: bool) -> Voice:
        """
        Stores a voice atomically: after a crash the folder has the whole voice or nothing of it.

        Args:
            name (`str`): 1 to 64 of a-z, 0-9, '_' and '-'.
            codes (`list[int]`): audio codes of the recording.
            reference_text (`str`): transcript of the recording.
            duration_seconds (`float`): duration of the recording.
            consent (`bool`): must be True: the speaker agreed to be cloned.

        Raises:
            BadRequest: if the name is invalid, `consent` is not True, or the store is full.
            Conflict: if the name is taken.
            OSError: if the files cannot be written.
        """
        if check_voice_name(name) == DEFAULT_VOICE:
            raise BadRequest(f"{DEFAULT_VOICE!r} is reserved for the model's own voice.", param="name")
        if consent is not True:
            raise BadRequest(
                "`consent` must be true: the speaker in the recording has to agree to be cloned.",
                param="consent",
            )
        conflict = Conflict(f"there is a voice {name!r} already; delete it first.", param="name")
        if (self.folder / name).exists():
            raise conflict
        if len(self.names()) >= self.max_voices:
            raise BadRequest(f"the store is full: it has {self.max_voices} voices already.", param="name")
        voice = Voice(
            name=name,
            codes=tuple(codes),
            reference_text=reference_text,
            consent=True,
            codec=self.codec,
            duration_seconds=duration_seconds,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        temporary = self._temporary_path()
        temporary.mkdir()
        try:
            save_file({"codes": np.asarray(codes, dtype=np.int32)}, temporary / CODES_FILE)
            metadata = json.dumps(voice.metadata(), ensure_ascii=False, indent=2)
            (temporary / METADATA_FILE).write_text(metadata + "\n", encoding="utf-8")
            for path in (temporary / CODES_FILE, temporary / METADATA_FILE, temporary):
                _fsync(path)
            temporary.rename(self.folder / name)  # fails if another process was first: its folder is not empty
            _fsync(self.folder)
        except (OSError, SafetensorError) as error:  # safetensors raises its own error for a full disk
            if (self.folder / name).exists():
                raise conflict from error
            raise OSError(f"the voice {name!r} cannot be written: {error}.") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return voice

    def delete(self, name: str) -> None:
        """
        Deletes a voice. The rename first makes the deletion atomic for other servers.

        Raises:
            BadRequest: if the name is invalid.
            NotFound: if there is no such voice.
        """
        trash = self._temporary_path()
        try:
            (self.folder / check_voice_name(name)).rename(trash)
        except FileNotFoundError as error:
            raise NotFound(f"there is no voice {name!r}.", param="name") from error
        shutil.rmtree(trash)

    def _temporary_path(self) -> Path:
        """An unused hidden path in the folder, which `names` ignores."""
        return self.folder / f".{secrets.token_hex(8)}"


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["DEFAULT_VOICE", "Voice", "VoiceStore", "check_voice_name", "codec_fingerprint"]
