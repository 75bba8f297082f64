"""`t5gemma-tts completion`."""

from argparse import Namespace


def run(arguments: Namespace) -> None:
    try:
        import shtab
    except ImportError as error:
        raise ImportError(f'shell completion needs `pip install "t5gemma-tts[completion]"` ({error}).') from error
    from .main import build_parser

    print(shtab.complete(build_parser(), shell=arguments.shell))
