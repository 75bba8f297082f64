"""`t5gemma-tts export`: a folder that is ready to be uploaded to the Hub."""

from argparse import Namespace

from ..export import export_checkpoint


def run(arguments: Namespace) -> None:
    folder = export_checkpoint(arguments.model, arguments.output)
    print(f"{folder}: upload it with `hf upload NAME {folder}`")
