"""`t5gemma-tts detect`."""

from argparse import Namespace

from ..model.audio_reading import read_tags
from ..model.marks import find_mark


def run(arguments: Namespace) -> None:
    for path in arguments.audio:
        mark = find_mark(read_tags(path))
        print(f"{path}  {'no mark' if mark is None else f'marked: {mark}'}")
