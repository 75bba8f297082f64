"""`t5gemma-tts speak`."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers.utils import logging

from ..loading import ModelOptions
from ..model.audio import WRITABLE_FORMATS
from ..model.engine import SpeechEngine, speech_requests
from ..model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..narration import narrate
from .audio_output import STANDARD_OUTPUT, open_sound


LINES_AHEAD = 16  # batches of lines whose texts are prepared together
LINES_BAR = "{percentage:3.0f}%|{bar}| {n:.0f}/{total} lines [{elapsed}<{remaining}]"


def run(arguments: Namespace) -> None:
    lines = read_lines(arguments)
    in_pieces = arguments.stream or arguments.long
    if arguments.output == STANDARD_OUTPUT and not in_pieces:
        raise ValueError("`--output -` writes sound as it comes; it needs --stream or --long.")
    if in_pieces:
        check_pieces(arguments, lines)
    paths = (
        []
        if arguments.output == STANDARD_OUTPUT
        else output_paths(Path(arguments.output), 1 if in_pieces else len(lines) * arguments.num_samples)
    )
    token_path = Path(arguments.tokens) if arguments.tokens else None
    refuse_existing([*paths, *([token_path] if token_path else [])], arguments.overwrite)
    logging.disable_progress_bar()

    if arguments.low_vram:
        arguments.batch_size = 1
    model, processor = ModelOptions.of(arguments).load()
    voice = {"reference_audio": arguments.reference, "reference_text": arguments.reference_text, "asr": arguments.asr}
    sampling = sampling_options(arguments) | {"seed": arguments.seed}
    if in_pieces:
        speak_in_pieces(arguments, lines, model, processor, voice, sampling)
    else:
        token_lines = speak_lines(arguments, lines, paths, model, processor, voice, sampling)
        if token_path:
            token_path.write_text("\n".join(token_lines) + "\n")


def check_pieces(arguments: Namespace, lines: list[str]) -> None:
    """
    Raises:
        ValueError: for options that make no sense when one sound comes in pieces.
    """
    if arguments.stream and arguments.long:
        raise ValueError("give either --stream or --long: long texts come piece by piece anyway.")
    if arguments.num_samples != 1 or arguments.tokens:
        raise ValueError("--num-samples and --tokens cannot be used with --stream or --long.")
    if arguments.stream and len(lines) != 1:
        raise ValueError(f"--stream speaks one line, got {len(lines)}; --long speaks all of them as one text.")
    if arguments.long and arguments.duration:
        raise ValueError("--duration cannot be used with --long; --speed can.")


def speak_lines(
    arguments: Namespace,
    lines: list[str],
    paths: list[Path],
    model: T5GemmaTTSForConditionalGeneration,
    processor: T5GemmaTTSProcessor,
    voice: dict[str, Any],
    sampling: dict[str, Any],
) -> list[str]:
    """Speaks every line into files of its own; returns the tokens of each, as text."""
    token_lines = [""] * len(paths)
    engine = SpeechEngine(model, arguments.batch_size)
    samples = arguments.num_samples
    with Progress(len(lines), model.config.frame_rate) as progress:
        ahead = LINES_AHEAD * arguments.batch_size
        for start in range(0, len(lines), ahead):
            inputs = processor(
                text=lines[start : start + ahead],
                language=arguments.language,
                duration=arguments.duration,
                speed=arguments.speed,
                **voice,
            )
            requests = speech_requests(model, **inputs, **sampling, num_return_sequences=samples)
            for request in engine.run(requests, on_step=progress.step):
                number = start * samples + requests.index(request)
                codes = processor.speech_codes(request.token_ids)
                (waveform,) = processor.batch_decode([codes])
                processor.save_audio(waveform, paths[number], overwrite=arguments.overwrite)
                print(f"{paths[number]}  {len(waveform) / processor.codec.sampling_rate:.2f} s")
                token_lines[number] = " ".join(map(str, codes))
                progress.ended(1 / samples)
    return token_lines


def speak_in_pieces(
    arguments: Namespace,
    lines: list[str],
    model: T5GemmaTTSForConditionalGeneration,
    processor: T5GemmaTTSProcessor,
    voice: dict[str, Any],
    sampling: dict[str, Any],
) -> None:
    """Writes one sound while it is spoken: a line as a stream, or all lines as one long text."""
    rate = processor.codec.sampling_rate  # a processor of the original's checkpoints has it from there
    pieces: Any  # of one line they are waveforms
    if arguments.long:
        pieces = narrate(
            model,
            processor,
            "\n".join(lines),
            language=arguments.language,
            speed=arguments.speed,
            batch_size=arguments.batch_size,
            **voice,
            **sampling,
        )
    else:
        inputs = processor(
            text=lines[0],
            language=arguments.language,
            duration=arguments.duration,
            speed=arguments.speed,
            **voice,
        )
        pieces = processor.stream_decode(model.stream(**inputs, **sampling))
    with open_sound(arguments.output, rate) as sound:
        for piece in pieces:
            sound.write(piece)
    if arguments.output != STANDARD_OUTPUT:
        print(f"{arguments.output}  {sound.num_samples / rate:.2f} s")


def read_lines(arguments: Namespace) -> list[str]:
    """The utterances: lines of the argument, of a file, or of standard input."""
    if arguments.text_file is not None:
        if arguments.text is not None:
            raise ValueError("give either TEXT or --text-file, not both.")
        text = Path(arguments.text_file).read_text(encoding="utf-8")
    elif arguments.text in (None, "-"):
        text = sys.stdin.read()
    else:
        text = arguments.text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("the text is empty: there is nothing to say.")
    return lines


def output_paths(path: Path, count: int) -> list[Path]:
    if path.suffix.lower() not in WRITABLE_FORMATS:
        raise ValueError(f"--output must end in one of {', '.join(WRITABLE_FORMATS)}, got {str(path)!r}.")
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """Checked before anything is loaded: nobody wants to learn it after minutes of work."""
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{str(path)!r} exists; pass --overwrite to replace it.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"the folder {str(path.parent)!r} does not exist.")


def sampling_options(arguments: Namespace) -> dict[str, Any]:
    """What the user asked for; the rest stays with the model's generation config."""
    options = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    options = {name: value for name, value in options.items() if value is not None}
    if options.get("temperature") == 0:
        options = {"do_sample": False, "temperature": 1.0}
    elif options:
        options["do_sample"] = True
    return options


class Progress:
    """On standard error, if that is a terminal: seconds of speech of a single line, or how many lines have ended."""

    def __init__(self, num_lines: int, frame_rate: float):
        self.one = num_lines == 1
        self.frame_rate = frame_rate
        hidden = not sys.stderr.isatty()
        if self.one:
            self.bar = tqdm(bar_format="{n:.1f} s of speech in {elapsed}", disable=hidden)
        else:
            self.bar = tqdm(total=num_lines, unit="line", disable=hidden, bar_format=LINES_BAR)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def step(self, num_tokens: int) -> None:
        if self.one:
            self.bar.update(num_tokens / self.frame_rate)

    def ended(self, num_lines: float) -> None:
        if not self.one:
            self.bar.update(num_lines)
