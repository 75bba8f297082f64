"""`t5gemma-tts prepare`: recordings and texts, or a folder of the original project, to a dataset of audio codes."""

import logging
from argparse import Namespace
from typing import Any

import datasets
from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from ..preparation.arguments import PrepareDatasetArguments
from ..preparation.run import prepare_dataset


def run(arguments: Namespace) -> None:
    parsed = parse_arguments(arguments.options)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for noisy in ("httpx", "datasets", "torch", "ray"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    summary = prepare_dataset(parsed)
    if summary is not None:
        print(f"{parsed.output}\n{summary}")


def parse_arguments(options: list[str]) -> PrepareDatasetArguments:
    argument_class: Any = PrepareDatasetArguments  # HfArgumentParser's type hints do not accept dataclasses
    parser = HfArgumentParser(argument_class, prog="t5gemma-tts prepare", description=__doc__)
    try:
        return parser.parse_args_into_dataclasses(options)[0]
    except ValueError as error:
        parser.error(str(error))
