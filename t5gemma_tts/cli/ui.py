"""`t5gemma-tts ui`."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoints import NANO
from ..loading import pick_device
from .serve import load, read_limits


if TYPE_CHECKING:
    from ..ui.page import Example


NANO_CLONES = [  # recordings bundled with nano, and their transcripts
    ("hibari-validation-00001.wav", "Who brought his clean sunglasses near our garage?"),
    ("hibari-unseen_pairs-00000.wav", "Did a powerful man prepare foreign ginger this morning?"),
]


def run(arguments: Namespace) -> None:
    try:
        from ..serving.server import bind_socket
        from ..serving.synthesis import SynthesisService
        from ..ui.form import SpeechForm
        from ..ui.page import EXAMPLES
        from ..ui.server import serve
    except ImportError as error:
        raise ImportError(f'the web page needs `pip install "t5gemma-tts[ui]"` ({error}).') from error

    limits = read_limits(arguments)
    if arguments.low_memory:
        apply_low_memory(arguments)
    concurrency_limit = 1 if arguments.low_memory or arguments.low_vram else arguments.max_batch_size
    with bind_socket(arguments.host, arguments.port) as listener:
        synthesis = SynthesisService(
            *load(arguments),
            max_batch_size=concurrency_limit,
            # room for all samples of all users; further users wait in Gradio's queue
            queue_size=concurrency_limit * (arguments.max_samples - 1),
            deadline_seconds=arguments.deadline,
        )
        form = SpeechForm(synthesis, arguments.asr, limits, arguments.max_samples, in_windows=arguments.low_memory)
        serve(
            form,
            listener,
            about(arguments.model),
            concurrency_limit,
            arguments.queue_size,
            EXAMPLES if arguments.model != NANO else nano_examples(),
            log_level=arguments.log_level,
        )


def apply_low_memory(arguments: Namespace) -> None:
    """Sets int8 weights on the CPU unless --quantization is given, or --low-vram on other devices."""
    if pick_device(arguments.device).type == "cpu":
        arguments.quantization = arguments.quantization or "int8"
    else:
        arguments.low_vram = True


def about(model: str) -> str:
    """The description of the model on the page, in Markdown."""
    if model == NANO:
        return (
            "Text to speech with voice cloning and adjustable length. This is **nano**, the bundled English "
            "voice: fast, but of demo quality."
        )
    name = Path(model).name if Path(model).exists() else model
    return f"Text to speech with voice cloning and adjustable length, by `{name}`."


def nano_examples() -> "list[Example]":
    """The English examples, and one for each bundled recording."""
    from ..ui.page import EXAMPLES

    english = [row for row in EXAMPLES if row[1] == "en"]
    audio = Path(NANO) / "audio"
    return english + [(english[0][0], "en", str(audio / name), transcript) for name, transcript in NANO_CLONES]
