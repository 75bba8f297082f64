"""`t5gemma-tts encode` and `t5gemma-tts decode`: audio files to token files and back."""

import sys
from argparse import Namespace
from pathlib import Path

from transformers.utils import logging

from ..loading import load_codec
from ..model.audio import save_audio
from ..model.audio_reading import load_audio
from .messages import announce
from .outputs import check_outputs, make_folders, output_paths


def encode(arguments: Namespace) -> None:
    if arguments.output:
        check_outputs([Path(arguments.output)], arguments.overwrite)
    clips = [load_audio(path) for path in arguments.audio]
    logging.disable_progress_bar()
    codec = load_codec(arguments.codec, device=arguments.device)
    lines = []
    for path, (waveform, sampling_rate) in zip(arguments.audio, clips, strict=True):
        try:
            codes = codec.encode(waveform, sampling_rate)
        except ValueError as error:
            raise ValueError(f"{path!r}: {error}") from error
        lines.append(" ".join(map(str, codes.tolist())))
    text = "\n".join(lines) + "\n"
    if arguments.output:
        make_folders([Path(arguments.output)])
        Path(arguments.output).write_text(text)
    else:
        sys.stdout.write(text)


def decode(arguments: Namespace) -> None:
    clips = read_tokens(arguments.tokens)  # keys are line numbers
    paths = output_paths(arguments.output, len(clips))
    check_outputs(paths, arguments.overwrite)
    logging.disable_progress_bar()
    codec = load_codec(arguments.codec, device=arguments.device)
    for number, clip in clips.items():
        if outside := [token for token in clip if not 0 <= token < codec.codebook_size]:
            raise ValueError(
                f"{arguments.tokens}, line {number}: tokens must be in [0, {codec.codebook_size}), got {outside[0]}."
            )
    make_folders(paths)
    for path, waveform in zip(paths, codec.decode_batch(list(clips.values())), strict=True):
        save_audio(waveform, path, codec.sampling_rate, overwrite=arguments.overwrite)
        announce(f"{path}  {len(waveform) / codec.sampling_rate:.2f} s")


def read_tokens(name: str) -> dict[int, list[int]]:
    """
    Reads a token file.

    Args:
        name (`str`): path, or "-" for standard input.

    Returns:
        `dict[int, list[int]]`: the tokens of each line that is not blank, by line number from 1.

    Raises:
        ValueError: if a line has anything but whole numbers, or the file has no tokens.
    """
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} must be a text file of tokens: {error}.") from error
    clips = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            clips[number] = [int(token) for token in line.split()]
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: tokens must be whole numbers ({error}).") from error
    if not clips:
        raise ValueError(f"{name} holds no tokens.")
    return clips
