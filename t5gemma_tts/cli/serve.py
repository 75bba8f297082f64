"""`t5gemma-tts serve`."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from transformers.utils import logging

from ..loading import ModelOptions
from ..model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..serving.limits import Limits


def run(arguments: Namespace) -> None:
    try:
        from ..serving.auth import ApiKeys
        from ..serving.names import Names, parse_aliases
        from ..serving.server import bind_socket, serve
        from ..serving.service import Service
        from ..serving.synthesis import SynthesisService
    except ImportError as error:
        raise ImportError(f'the server needs `pip install "t5gemma-tts[serve]"` ({error}).') from error

    # these fail fast on wrong options; loading the model takes minutes
    keys = None if arguments.api_key_file is None else ApiKeys.from_file(arguments.api_key_file)
    limits = replace(
        read_limits(arguments),
        max_lexicon_entries=arguments.max_lexicon_entries,
        max_connections_per_address=arguments.max_connections_per_address,
    )
    aliases = parse_aliases(arguments.voice_alias, arguments.voice_alias_file)
    names = Names(arguments.served_model_name or [Path(arguments.model).name], arguments.strict_models, aliases)
    if arguments.voices_dir is None:
        names.check_without_voices()
    with bind_socket(arguments.host, arguments.port) as listener:
        synthesis = SynthesisService(
            *load(arguments),
            max_batch_size=1 if arguments.low_vram else arguments.max_batch_size,
            queue_size=arguments.queue_size,
            deadline_seconds=arguments.deadline,
        )
        service = Service(synthesis, arguments.voices_dir, names, keys, limits, arguments.strict, arguments.watermark)
        serve(service, listener, arguments.drain_seconds, log_level=arguments.log_level)


def read_limits(arguments: Namespace) -> Limits:
    """
    The limits that the options of `add_limit_options` set.

    Raises:
        ValueError: for a limit that is out of range.
    """
    if arguments.queue_size < 0:
        raise ValueError(f"--queue-size must not be negative, got {arguments.queue_size}.")
    return Limits(max_characters=arguments.max_characters, max_reference_seconds=arguments.max_reference_seconds)


def load(arguments: Namespace) -> tuple[T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor]:
    """Loads the model and the processor with the options of `add_model_options`."""
    logging.disable_progress_bar()
    return ModelOptions.from_attributes(arguments).load()
