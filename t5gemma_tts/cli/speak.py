"""`t5gemma-tts speak`."""

from argparse import Namespace
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import BatchFeature
from transformers.utils import logging

from ..loading import ModelOptions
from ..model.audio import Waveform
from ..model.engine import SpeechEngine, speech_requests
from ..model.lexicon import Lexicon
from ..model.modeling_t5gemma_tts import T5GemmaTTSForConditionalGeneration
from ..model.processing_t5gemma_tts import T5GemmaTTSProcessor
from ..model.sampling import SamplingOptions
from ..narration import narrate
from .audio_output import open_audio_writer
from .messages import announce, shows_progress
from .outputs import STANDARD_OUTPUT, make_folders
from .playback import Playback
from .speak_plan import SpeakPlan


BATCHES_PER_CALL = 16  # batches of lines that one call of the processor prepares
LINES_BAR = "{percentage:3.0f}%|{bar}| {n:.0f}/{total} lines [{elapsed}<{remaining}]"


def run(arguments: Namespace) -> None:
    plan: SpeakPlan = arguments.plan
    lines, paths, token_path, player = plan.lines, plan.paths, plan.token_path, plan.player
    sampling = sampling_options(arguments)
    SamplingOptions(**sampling)
    sampling |= {"seed": arguments.seed}
    if arguments.lexicon is not None:
        arguments.lexicon = Lexicon.load(arguments.lexicon)
    logging.disable_progress_bar()

    # what the processor refuses shows before the model is loaded, which takes longest
    if arguments.low_vram:
        arguments.batch_size = 1
    options = ModelOptions.from_attributes(arguments)
    processor = options.load_processor()
    voice = read_voice(arguments, processor)
    reading = {"language": arguments.language, "normalize": arguments.normalize, "lexicon": arguments.lexicon}
    if arguments.long:
        processor.estimate_duration("\n".join(lines), **reading)
        model = options.load_model()
        chunks: Any = narrate(
            model,
            processor,
            "\n".join(lines),
            speed=arguments.speed,
            batch_size=arguments.batch_size,
            **reading,
            **voice,
            **sampling,
        )
        write_chunks(chunks, processor.codec.sampling_rate, paths, player, arguments.watermark)
        return
    lines_per_call = BATCHES_PER_CALL * arguments.batch_size
    inputs = [
        processor(
            text=lines[start : start + lines_per_call],
            duration=arguments.duration,
            speed=arguments.speed,
            **reading,
            **voice,
        )
        for start in range(0, len(lines), lines_per_call)
    ]
    model = options.load_model()
    if arguments.stream:
        chunks = processor.stream_decode(model.stream(**inputs[0], **sampling))
        write_chunks(chunks, processor.codec.sampling_rate, paths, player, arguments.watermark)
        return
    outputs = FileOutputs(processor, paths, arguments.overwrite, player, arguments.watermark)
    token_lines = speak_lines(arguments, inputs, outputs, model, processor, sampling)
    if token_path:
        make_folders([token_path])
        token_path.write_text("\n".join(token_lines) + "\n")


def read_voice(arguments: Namespace, processor: T5GemmaTTSProcessor) -> dict[str, Any]:
    """Reads, transcribes and encodes the reference; returns arguments of the processor."""
    if arguments.reference is None:
        return {"reference_text": arguments.reference_text}
    codes, _, text = processor.read_reference(arguments.reference, arguments.reference_text, asr=arguments.asr)
    return {"reference_audio": {"codes": codes}, "reference_text": text}


class FileOutputs:
    """
    Where the waveforms of lines go: into files, to the loudspeaker, or both.

    Args:
        processor (`T5GemmaTTSProcessor`)
        paths (`list[Path]`, *optional*): a file for each waveform.
        overwrite (`bool`): whether files may be replaced.
        player (`str`, *optional*): program that plays each waveform once it is there.
        watermark (`str`): as in `save_audio`.
    """

    def __init__(
        self,
        processor: T5GemmaTTSProcessor,
        paths: list[Path] | None,
        overwrite: bool,
        player: str | None,
        watermark: str,
    ):
        self.processor, self.paths, self.overwrite = processor, paths, overwrite
        self.player, self.watermark = player, watermark

    def write(self, number: int, waveform: Waveform) -> None:
        """Writes and plays the waveform `number`, float32 `(num_samples,)`."""
        rate = self.processor.codec.sampling_rate
        if self.paths is not None:
            make_folders([self.paths[number]])
            self.processor.save_audio(waveform, self.paths[number], overwrite=self.overwrite, watermark=self.watermark)
            announce(f"{self.paths[number]}  {len(waveform) / rate:.2f} s")
        if self.player is not None:
            with Playback(self.player, rate) as playback:
                playback.write(waveform)


def speak_lines(
    arguments: Namespace,
    inputs: list[BatchFeature],
    outputs: FileOutputs,
    model: T5GemmaTTSForConditionalGeneration,
    processor: T5GemmaTTSProcessor,
    sampling: dict[str, Any],
) -> list[str]:
    """Speaks each line into its own outputs and returns the audio tokens of each waveform, as text."""
    engine = SpeechEngine(model, arguments.batch_size)
    samples = arguments.num_samples
    num_lines = sum(len(call["input_ids"]) for call in inputs)
    token_lines = [""] * (num_lines * samples)
    first = 0
    with Progress(num_lines, model.config.frame_rate) as progress:
        for call in inputs:
            requests = speech_requests(model, **call, **sampling, num_return_sequences=samples)
            for request in engine.run(requests, on_step=progress.step):
                number = first + requests.index(request)
                codes = processor.speech_codes(request.token_ids)
                (waveform,) = processor.batch_decode([codes])
                outputs.write(number, waveform)
                token_lines[number] = " ".join(map(str, codes))
                progress.finish_lines(1 / samples)
            first += len(requests)
    return token_lines


def write_chunks(
    chunks: Iterable[Waveform], sampling_rate: int, paths: list[Path] | None, player: str | None, watermark: str
) -> None:
    """Writes and plays audio while it is generated: into one file, or to standard output if there are no `paths`."""
    with ExitStack() as stack:
        playback = None if player is None else stack.enter_context(Playback(player, sampling_rate))
        writer = None
        if paths is not None or playback is None:
            make_folders(paths or [])
            output = STANDARD_OUTPUT if paths is None else str(paths[0])
            writer = stack.enter_context(open_audio_writer(output, sampling_rate, watermark))
        for chunk in chunks:
            if writer is not None:
                writer.write(chunk)
            if playback is not None:
                playback.write(chunk)
    if writer is not None and paths is not None:
        announce(f"{paths[0]}  {writer.num_samples / sampling_rate:.2f} s")


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
        hidden = not shows_progress()
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
