"""Formats of audio files that are written. This module imports nothing, so that names can be checked at once."""

# file suffix -> (format, subtype) of soundfile
WRITABLE_FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}

__all__ = ["WRITABLE_FORMATS"]
