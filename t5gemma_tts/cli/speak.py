"""`t5gemma-tts speak`."""

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from tqdm import tqdm
from transformers.utils import logging

from ..audio_t5gemma_tts import WRITABLE_FORMATS
from ..loading import load_model, load_processor, pick_device


def run(arguments) -> None:
    lines = read_lines(arguments)
    paths = output_paths(Path(arguments.output), len(lines) * arguments.num_samples)
    token_path = Path(arguments.tokens) if arguments.tokens else None
    refuse_existing([*paths, *([token_path] if token_path else [])], arguments.overwrite)
    logging.disable_progress_bar()

    if arguments.low_vram:
        arguments.dtype, arguments.batch_size = "bfloat16", 1
        arguments.codec_device = arguments.codec_device or "cpu"
    device = pick_device(arguments.device)
    processor = load_processor(arguments.model, codec=arguments.codec, codec_device=arguments.codec_device or device)
    model = load_model(arguments.model, device=device, dtype=arguments.dtype)
    sampling = sampling_options(arguments)
    if arguments.seed is not None:
        torch.manual_seed(arguments.seed)

    done = 0
    token_lines = []
    with tqdm(total=len(lines), unit="line", disable=not sys.stderr.isatty() or len(lines) == 1) as progress:
        for start in range(0, len(lines), arguments.batch_size):
            batch = lines[start : start + arguments.batch_size]
            inputs = processor(
                text=batch,
                reference_audio=arguments.reference,
                reference_text=arguments.reference_text,
                language=arguments.language,
                duration=arguments.duration,
                speed=arguments.speed,
                asr=arguments.asr,
            ).to(device)
            with token_progress(model, len(lines) == 1) as streamer:
                sequences = model.generate(**inputs, **sampling, streamer=streamer)
            codes = [processor.speech_codes(sequence) for sequence in sequences.tolist()]
            for clip, waveform in zip(codes, processor.batch_decode(codes), strict=True):
                processor.save_audio(waveform, paths[done], overwrite=arguments.overwrite)
                print(f"{paths[done]}  {len(waveform) / processor.sampling_rate:.2f} s")
                token_lines.append(" ".join(map(str, clip)))
                done += 1
            progress.update(len(batch))
    if token_path:
        token_path.write_text("\n".join(token_lines) + "\n")


def read_lines(arguments) -> list[str]:
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


def sampling_options(arguments) -> dict:
    """What the user asked for; the rest stays with the model's generation config."""
    options = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    options = {name: value for name, value in options.items() if value is not None}
    if options.get("temperature") == 0:
        # several takes of one text need sampling, which a single candidate makes greedy
        options = {"do_sample": True, "temperature": 1.0, "top_k": 1, "top_p": 1.0}
    elif options:
        options["do_sample"] = True
    return options | {"num_return_sequences": arguments.num_samples}


def token_progress(model, wanted: bool):
    """A context with a streamer that counts frames on standard error, if that is a terminal."""
    return FrameCounter(model.config.frame_rate) if wanted and sys.stderr.isatty() else nullcontext()


class FrameCounter:
    """Counts generated seconds on standard error: a streamer for `generate`, and a context manager."""

    def __init__(self, frame_rate: float):
        self.bar = tqdm(bar_format="{n:.1f} s of speech in {elapsed}")
        self.seconds_per_frame = 1 / frame_rate
        self.saw_prompt = False

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.bar.close()

    def put(self, tokens) -> None:
        if self.saw_prompt:  # `generate` hands over the prompt first
            self.bar.update(self.seconds_per_frame)
        self.saw_prompt = True

    def end(self) -> None:
        self.bar.refresh()
