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
from ..model.lexicon import Lexicon
from ..model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..narration import narrate
from .audio_output import STANDARD_OUTPUT, open_audio_writer


BATCHES_PER_CALL = 16  # batches of lines that one call of the processor prepares
LINES_BAR = "{percentage:3.0f}%|{bar}| {n:.0f}/{total} lines [{elapsed}<{remaining}]"


def run(arguments: Namespace) -> None:
    lines = read_lines(arguments)
    in_chunks = arguments.stream or arguments.long
    if arguments.output == STANDARD_OUTPUT and not in_chunks:
        raise ValueError("`--output -` streams audio; it needs --stream or --long.")
    if in_chunks:
        check_single_output(arguments, lines)
    paths = (
        []
        if arguments.output == STANDARD_OUTPUT
        else output_paths(Path(arguments.output), 1 if in_chunks else len(lines) * arguments.num_samples)
    )
    token_path = Path(arguments.tokens) if arguments.tokens else None
    refuse_existing([*paths, *([token_path] if token_path else [])], arguments.overwrite)
    if arguments.lexicon is not None:  # an error in it shows before the model is loaded
        arguments.lexicon = Lexicon.load(arguments.lexicon)
    logging.disable_progress_bar()

    if arguments.low_vram:
        arguments.batch_size = 1
    model, processor = ModelOptions.from_attributes(arguments).load()
    voice = {"reference_audio": arguments.reference, "reference_text": arguments.reference_text, "asr": arguments.asr}
    sampling = sampling_options(arguments) | {"seed": arguments.seed}
    if in_chunks:
        speak_to_one_output(arguments, lines, model, processor, voice, sampling)
    else:
        token_lines = speak_lines(arguments, lines, paths, model, processor, voice, sampling)
        if token_path:
            token_path.write_text("\n".join(token_lines) + "\n")


def check_single_output(arguments: Namespace, lines: list[str]) -> None:
    """
    Checks the options for one output that is written in chunks.

    Raises:
        ValueError: for options that cannot be combined with --stream or --long.
    """
    if arguments.stream and arguments.long:
        raise ValueError("give either --stream or --long: --long streams, too.")
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
    """Speaks each line into its own files and returns the audio tokens of each file, as text."""
    token_lines = [""] * len(paths)
    engine = SpeechEngine(model, arguments.batch_size)
    samples = arguments.num_samples
    with Progress(len(lines), model.config.frame_rate) as progress:
        lines_per_call = BATCHES_PER_CALL * arguments.batch_size
        for start in range(0, len(lines), lines_per_call):
            inputs = processor(
                text=lines[start : start + lines_per_call],
                language=arguments.language,
                duration=arguments.duration,
                speed=arguments.speed,
                normalize=arguments.normalize,
                lexicon=arguments.lexicon,
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
                progress.finish_lines(1 / samples)
    return token_lines


def speak_to_one_output(
    arguments: Namespace,
    lines: list[str],
    model: T5GemmaTTSForConditionalGeneration,
    processor: T5GemmaTTSProcessor,
    voice: dict[str, Any],
    sampling: dict[str, Any],
) -> None:
    """Writes audio while it is generated: one line as a stream, or all lines as one long text."""
    rate = processor.codec.sampling_rate  # a processor of the original's checkpoints has it from there
    chunks: Any
    if arguments.long:
        chunks = narrate(
            model,
            processor,
            "\n".join(lines),
            language=arguments.language,
            speed=arguments.speed,
            normalize=arguments.normalize,
            lexicon=arguments.lexicon,
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
            normalize=arguments.normalize,
            lexicon=arguments.lexicon,
            **voice,
        )
        chunks = processor.stream_decode(model.stream(**inputs, **sampling))
    with open_audio_writer(arguments.output, rate) as writer:
        for chunk in chunks:
            writer.write(chunk)
    if arguments.output != STANDARD_OUTPUT:
        print(f"{arguments.output}  {writer.num_samples / rate:.2f} s")


def read_lines(arguments: Namespace) -> list[str]:
    """The lines of the argument, the file or standard input, without blank ones.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if there are no lines, or both TEXT and --text-file.
    """
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
        raise ValueError("the text is empty.")
    return lines


def output_paths(path: Path, count: int) -> list[Path]:
    """
    The paths of `count` audio files: `path` itself, or numbered names.

    Raises:
        ValueError: if the suffix is not that of a writable format.
    """
    if path.suffix.lower() not in WRITABLE_FORMATS:
        raise ValueError(f"--output must end in one of {', '.join(WRITABLE_FORMATS)}, got {str(path)!r}.")
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """
    Checks that the output paths can be written, before slow work.

    Raises:
        FileExistsError: if a file exists and `overwrite` is False.
        FileNotFoundError: if a folder does not exist.
    """
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{str(path)!r} exists; pass --overwrite to replace it.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"the folder {str(path.parent)!r} does not exist.")


def sampling_options(arguments: Namespace) -> dict[str, Any]:
    """The sampling options that the user passed; the model's generation config has the others."""
    options = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    options = {name: value for name, value in options.items() if value is not None}
    if options.get("temperature") == 0:
        options = {"do_sample": False, "temperature": 1.0}
    elif options:
        options["do_sample"] = True
    return options


class Progress:
    """A progress bar on standard error, if it is a terminal: seconds of speech for one line, else finished lines."""

    def __init__(self, num_lines: int, frame_rate: float):
        self.single_line = num_lines == 1
        self.frame_rate = frame_rate
        hidden = not sys.stderr.isatty()
        if self.single_line:
            self.bar = tqdm(bar_format="{n:.1f} s of speech in {elapsed}", disable=hidden)
        else:
            self.bar = tqdm(total=num_lines, unit="line", disable=hidden, bar_format=LINES_BAR)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def step(self, num_tokens: int) -> None:
        if self.single_line:
            self.bar.update(num_tokens / self.frame_rate)

    def finish_lines(self, num_lines: float) -> None:
        if not self.single_line:
            self.bar.update(num_lines)
