"""`t5gemma-tts prepare`: recordings and texts, or a folder of the original project, to a dataset of audio codes."""

import logging
from argparse import Namespace

import datasets
from transformers.utils import logging as transformers_logging

from ..preparation.arguments import PrepareDatasetArguments
from ..preparation.run import prepare_dataset
from ..recipes import RecipeParser


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
    """Parses a recipe file and options, as [`RecipeParser.parse_recipe`]."""
    (parsed,) = RecipeParser([PrepareDatasetArguments], "t5gemma-tts prepare", __doc__).parse_recipe(options)
    return parsed
