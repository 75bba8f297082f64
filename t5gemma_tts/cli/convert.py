"""`t5gemma-tts convert`."""

from argparse import Namespace

import torch
from transformers.utils import logging

from ..conversion import convert_checkpoint


def run(arguments: Namespace) -> None:
    logging.disable_progress_bar()
    convert_checkpoint(
        arguments.source,
        arguments.output,
        backbone_config=arguments.backbone_config,
        tokenizer=arguments.tokenizer,
        codec=arguments.codec,
        merge_lora=not arguments.keep_adapter,
        dtype=getattr(torch, arguments.dtype) if arguments.dtype else None,
        overwrite=arguments.overwrite,
    )
    print(f"written to {arguments.output}")
