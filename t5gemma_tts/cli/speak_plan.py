"""What `t5gemma-tts speak` reads and writes, checked before torch is imported, which takes seconds."""

import os
import secrets
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from .outputs import STANDARD_OUTPUT, check_outputs, output_paths, pattern_fields
from .playback import find_player


@dataclass(frozen=True)
class SpeakPlan:
    """
    Args:
        lines (`list[str]`): what to speak.
        paths (`list[Path]`, *optional*): the audio files; None without files.
        token_path (`Path`, *optional*): the file of audio tokens.
        player (`str`, *optional*): the program that plays the speech.
    """

    lines: list[str]
    paths: list[Path] | None
    token_path: Path | None
    player: str | None


def plan(arguments: Namespace) -> SpeakPlan:
    """
    Reads the text, and checks all files. A seed that a file name needs is drawn and set in `arguments`.

    Raises:
        OSError: if the text or the reference cannot be read, or a file cannot be written.
        ValueError: for an empty text, or options that cannot be combined.
    """
    lines = read_lines(arguments)
    in_chunks = arguments.stream or arguments.long
    if arguments.output == STANDARD_OUTPUT and not in_chunks:
        raise ValueError("`--output -` streams audio; it needs --stream or --long.")
    if arguments.output == STANDARD_OUTPUT and arguments.play:
        raise ValueError("`--output -` and --play cannot be combined.")
    if in_chunks:
        check_single_output(arguments, lines)
    paths = None
    if arguments.output not in (None, STANDARD_OUTPUT):
        num_files = 1 if in_chunks else len(lines) * arguments.num_samples
        seeds = None
        if "seed" in pattern_fields(arguments.output):
            if arguments.seed is None:
                arguments.seed = secrets.randbelow(2**31)
            # sample `i` of a line has the seed `seed + i`
            seeds = [arguments.seed + index % arguments.num_samples for index in range(num_files)]
        paths = output_paths(arguments.output, num_files, seeds)
    token_path = Path(arguments.tokens) if arguments.tokens else None
    check_outputs([*(paths or []), *([token_path] if token_path else [])], arguments.overwrite)
    if arguments.reference is not None and not os.path.isfile(arguments.reference):
        raise FileNotFoundError(f"no audio file at {arguments.reference!r}.")
    return SpeakPlan(lines, paths, token_path, find_player() if arguments.play else None)


def check_single_output(arguments: Namespace, lines: list[str]) -> None:
    """
    Checks the options for one output that is written in chunks.

    Raises:
        ValueError: for options that cannot be combined with --stream or --long.
    """
    if arguments.stream and arguments.long:
        raise ValueError("give either --stream or --long: --long streams, too.")
    if arguments.num_samples != 1 or arguments.tokens:
        raise ValueError("--num-samples and --tokens cannot be used with --stream or --long.")
    if arguments.stream and len(lines) != 1:
        raise ValueError(f"--stream speaks one line, got {len(lines)}; --long speaks all of them as one text.")
    if arguments.long and arguments.duration:
        raise ValueError("--duration cannot be used with --long; --speed can.")


def read_lines(arguments: Namespace) -> list[str]:
    """The lines of the argument, the file or standard input, without blank ones.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if there are no lines, or both TEXT and --text-file.
    """
    if arguments.text_file is not None:
        if arguments.text is not None:
            raise ValueError("give either TEXT or --text-file, not both.")
        text = Path(arguments.text_file).read_text(encoding="utf-8")
    elif arguments.text in (None, "-"):
        text = sys.stdin.read()
    else:
        text = arguments.text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("the text is empty.")
    return lines


__all__ = ["SpeakPlan", "plan"]
