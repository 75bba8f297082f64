"""`t5gemma-tts merge`: merges a LoRA adapter into its base model."""

from argparse import Namespace


def run(arguments: Namespace) -> None:
    try:
        from ..training.merge_lora import merge_adapter
    except ImportError as error:
        raise ImportError(f'merging needs `pip install "t5gemma-tts[train]"` ({error}).') from error
    difference = merge_adapter(arguments.adapter, arguments.output, arguments.model)
    print(f"largest difference of a logit: {difference:.2e}")
