"""`t5gemma-tts train`: trains a model from a YAML recipe or from options."""

from argparse import Namespace


def run(arguments: Namespace) -> None:
    try:
        from ..training.train import main
    except ImportError as error:
        raise ImportError(f'training needs `pip install "t5gemma-tts[train]"` ({error}).') from error
    main(arguments.options)
