"""Makes the dataset of audio codes that training reads.

    python training/prepare_dataset.py --source FOLDER_OR_HUB_NAME --output FOLDER --codec CODEC
    accelerate launch training/prepare_dataset.py --source ... --output ... --codec ...
    python training/prepare_dataset.py --source ORIGINAL_PROJECT_FOLDER --output FOLDER

A run that was killed goes on where it was when the same command is started again.
"""

import logging
import sys
from pathlib import Path


if __name__ == "__main__":
    # the repository, not this folder, whose modules would hide packages of the same names
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import command  # noqa: E402


def parse_arguments(arguments: list[str] | None = None):
    from transformers import HfArgumentParser

    from training.data_preparation.arguments import PrepareDatasetArguments

    parser = HfArgumentParser(PrepareDatasetArguments, description=__doc__.splitlines()[0])
    try:
        return parser.parse_args_into_dataclasses(arguments)[0]
    except ValueError as error:
        parser.error(str(error))


@command
def main(argv: list[str] | None = None) -> None:
    parsed = parse_arguments(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for noisy in ("httpx", "datasets", "torch", "ray"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    import datasets
    from transformers.utils import logging as transformers_logging

    from training.data_preparation.run import prepare_dataset

    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    summary = prepare_dataset(parsed)
    if summary is not None:
        print(f"{parsed.output}\n{summary}")


if __name__ == "__main__":
    sys.exit(main())
