"""The commands of `t5gemma-tts` and their options. `module` names the module of `cli` that runs a command.

This module imports nothing slow, so that `--help` is fast: `main` imports a command's module when it runs.
"""

import argparse
from typing import TYPE_CHECKING

from .checkpoint_commands import add_convert, add_evaluate, add_export, add_info, add_merge, add_prepare, add_train
from .server_commands import add_serve, add_ui
from .speech_commands import add_batch, add_decode, add_detect, add_encode, add_speak


if TYPE_CHECKING:  # a private name of argparse
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_completion(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Print a script that completes commands and options. For bash: "
        'eval "$(t5gemma-tts completion bash)" in ~/.bashrc. It needs the extra `completion`.',
    )
    parser.add_argument("shell", choices=["bash", "zsh"], help="the shell")
    parser.set_defaults(module="completion")


COMMANDS = (
    add_speak,
    add_batch,
    add_serve,
    add_ui,
    add_encode,
    add_decode,
    add_info,
    add_convert,
    add_export,
    add_prepare,
    add_train,
    add_merge,
    add_evaluate,
    add_detect,
    add_completion,
)
