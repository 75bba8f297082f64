"""The Gradio page: its layout, and the functions that its buttons call."""

import html
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager, nullcontext
from copy import copy
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from transformers import GenerationConfig

from ..serving.errors import BadRequest, ServingError
from ..serving.formats import encode_audio
from .form import Sample, SpeechForm
from .live_audio import LiveAudio, LiveAudioStreams
from .options import MAX_SPEED, MIN_SPEED, SpeechOptions


LANGUAGES = [("Detect", ""), ("English", "en"), ("日本語", "ja"), ("中文", "zh")]
Example = tuple[str, str, str | None, str]  # text, language, recording, transcript
EXAMPLES: list[Example] = [
    ("Good morning! The train to London leaves at seven o'clock.", "en", None, ""),
    ("Thirteen buttons cost forty-one dollars and fifty-one cents.", "en", None, ""),
    ("おはようございます。今日はいい天気ですね。", "ja", None, ""),
    ("早上好！今天天气很好。", "zh", None, ""),
]
LIVE_SCRIPT = Path(__file__).with_name("live.js").read_text(encoding="utf-8")
MIN_SECONDS = 0.5
COLUMN_WIDTH, SAMPLE_WIDTH = 320, 280  # minimum widths in pixels; narrower screens stack the columns
MESSAGE_SECONDS = 30
KEPT_SECONDS, CHECK_SECONDS = 3600, 600  # lifetime of uploads and generated files; interval of the deletion
# system fonts only: the page must not download fonts
THEME = gr.themes.Default(
    primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)
CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
.sound-picture { width: 100%; height: auto; display: block; border-radius: 6px; }
.live-sound { width: 100%; display: block; }
@media (max-width: 640px) { .gradio-container main { padding: 12px !important; } }
"""


@contextmanager
def show_errors() -> Iterator[None]:
    """Shows errors that the user can fix as a message on the page. All other errors go to the log only."""
    try:
        yield
    except (ServingError, ImportError) as error:
        raise gr.Error(html.escape(str(error)), duration=MESSAGE_SECONDS, print_exception=False) from error


def check_uploaded(path: str | Path | None) -> Path | None:
    """
    Returns the path of an uploaded file, or None.

    Raises:
        BadRequest: for a path outside the upload folder, which an API call could contain.
    """
    if path is None:
        return None
    if not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise BadRequest("Only uploaded recordings can be used.", "reference_audio")
    return Path(path)


def accept_only_uploads(recording: gr.Audio) -> gr.Audio:
    """Makes a component refuse paths and URLs in API calls: Gradio would copy local files and download URLs."""
    move = recording.async_move_resource_to_block_cache

    async def move_upload(path: str | Path | None) -> str | None:
        with show_errors():
            check_uploaded(path)
        return await move(path)

    recording.async_move_resource_to_block_cache = move_upload  # type: ignore[method-assign, assignment]
    return recording


def to_integer(label: str, value: float | None) -> int:
    """
    Converts the value of a number field.

    Raises:
        BadRequest: if it is empty or not a whole number.
    """
    if value is None or not math.isfinite(value) or value != round(value):
        raise BadRequest(f"{label} must be a whole number, got {'nothing' if value is None else value}.")
    return round(value)


def sample_label(number: int, sample: Sample) -> str:
    return f"Sample {number} · {sample.seconds:.1f} s · seed {sample.seed}"


def live_player_html(stream: LiveAudio) -> str:
    return f'<audio class="live-sound" controls data-url="{stream.url}"></audio>'


class Page:
    """
    The functions that the buttons call. Each is also an endpoint of Gradio's API.

    Args:
        form ([`SpeechForm`]): the actions.
        live_streams ([`LiveAudioStreams`]): the streams; the application must include their router.
    """

    status: gr.Markdown  # `build_page` sets these
    player: gr.HTML
    seed: gr.Number

    def __init__(self, form: SpeechForm, live_streams: LiveAudioStreams):
        self.form, self.live_streams = form, live_streams
        self.slots: list[tuple[gr.Column, gr.Audio, gr.HTML]] = []

    async def estimate(
        self,
        text: str | None,
        language: str | None = "",
        reference: str | None = None,
        reference_text: str | None = "",
        speed: float = 1.0,
        long_text: bool = False,
        choose_length: bool = False,
        length: float | None = None,
    ) -> tuple[str, dict[str, Any]]:
        """Estimate the length of the speech: a message, and the value of the length slider in seconds."""
        try:
            speech_options = self._speech_options(text, language, reference, reference_text, long_text, speed=speed)
            seconds = await self.form.estimate(speech_options)
        except (ServingError, ValueError, ImportError) as error:
            return f"No estimate: {html.escape(str(error))}", gr.update(interactive=choose_length)
        if seconds is None:
            return "Estimated length: –", gr.update(interactive=choose_length)
        shown = length if choose_length else round(min(max(seconds, MIN_SECONDS), self.form.max_seconds), 1)
        return f"Estimated length: **{seconds:.1f} s**", gr.update(value=shown, interactive=choose_length)

    async def transcribe(self, reference: str | None) -> str:
        """Transcribe a recording."""
        with show_errors():
            return await self.form.transcribe(check_uploaded(reference))

    async def speak(
        self,
        text: str | None,
        language: str | None = "",
        reference: str | None = None,
        reference_text: str | None = "",
        choose_length: bool = False,
        length: float | None = None,
        speed: float = 1.0,
        long_text: bool = False,
        live: bool = False,
        temperature: float | None = None,
        top_k: float | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        new_seed: bool = True,
        seed: float | None = None,
        num_samples: float | None = 1,
    ) -> AsyncIterator[dict[Block, Any]]:
        """Speak a text. The label of each sample has its seed."""
        with show_errors():
            speech_options = self._speech_options(
                text,
                language,
                reference,
                reference_text,
                long_text,
                duration_seconds=length if choose_length else None,
                speed=speed,
                temperature=temperature,
                top_k=None if top_k is None else to_integer("Top k", top_k),
                top_p=top_p,
                min_p=min_p,
                seed=None if new_seed else to_integer("Seed", seed),
                num_samples=to_integer("Samples", num_samples),
            )
        num_played, all_updates = 0, dict[Block, Any]()
        with self.live_streams.open() if live else nullcontext() as stream, show_errors():
            async with aclosing(self.form.speak(speech_options, live)) as all_progress:
                async for progress in all_progress:
                    if stream is not None and progress.chunk is not None:
                        if not num_played:
                            yield self._reset(live_player_html(stream))
                        num_played += len(progress.chunk)
                        await stream.push(progress.chunk)
                        yield {self.status: f"Speaking … {num_played / self.form.synthesis.sampling_rate:.1f} s"}
                    else:
                        if stream is not None and not stream.ended:
                            await stream.finish()
                        updates = await self._show_sample(progress.samples, speech_options.num_samples, live)
                        # copies, because Gradio clears the dicts that it gets
                        all_updates |= {part: copy(value) for part, value in updates.items()}
                        # repeat all updates at the end: a busy browser can skip updates in quick succession
                        yield all_updates if len(progress.samples) == speech_options.num_samples else updates

    def _speech_options(
        self,
        text: str | None,
        language: str | None,
        reference: str | None,
        reference_text: str | None,
        long_text: bool,
        **options: Any,
    ) -> SpeechOptions:
        return SpeechOptions(
            text=text or "",
            language=language or None,
            reference=check_uploaded(reference),
            reference_text=reference_text or "",
            in_pieces=bool(long_text),
            **options,
        )

    def _reset(self, player: str = "") -> dict[Block, Any]:
        """Updates that hide the previous samples."""
        return {self.player: player} | {column: gr.update(visible=False) for column, _, _ in self.slots}

    async def _show_sample(self, samples: tuple[Sample, ...], num_samples: int, live: bool) -> dict[Block, Any]:
        """Updates that show the newest sample and the progress."""
        number, sample = len(samples), samples[-1]
        column, player, plot = self.slots[number - 1]
        file_name = f"speech-seed-{sample.seed}.wav"
        data = await self.form.synthesis.run_on_codec_thread(encode_audio, sample.waveform, sample.sampling_rate, "wav")
        path = save_bytes_to_cache(data, file_name, get_upload_folder())
        done = f"{number} of {num_samples} samples" if num_samples > 1 else "Done"
        updates: dict[Block, Any] = {
            self.status: f"{done} · seed {samples[0].seed}",
            self.seed: samples[0].seed,
            column: gr.update(visible=True),
            player: gr.update(value=path, label=sample_label(number, sample)),
            plot: await self.form.plot(sample, f"Sample {number}"),
        }
        return updates if live or number > 1 else self._reset() | updates


def sampling_sliders(defaults: GenerationConfig) -> list[gr.Slider]:
    """
    Sliders for temperature, top k, top p and min p.

    Args:
        defaults (`GenerationConfig`): the model's generation config, for the initial values.
    """
    temperature = 1.0 if defaults.temperature is None else defaults.temperature
    top_p = 1.0 if defaults.top_p is None else defaults.top_p
    return [
        gr.Slider(0, 2, value=temperature, step=0.05, label="Temperature", info="0 selects the most likely token"),
        gr.Slider(0, 200, value=defaults.top_k or 0, step=1, label="Top k", info="0 disables it"),
        gr.Slider(0.01, 1, value=top_p, step=0.01, label="Top p", info="1 disables it"),
        gr.Slider(0, 1, value=defaults.min_p or 0.0, step=0.01, label="Min p", info="0 disables it"),
    ]


def sample_slot(number: int) -> tuple[gr.Column, gr.Audio, gr.HTML]:
    """A hidden column with a player and a plot, for one sample."""
    with gr.Column(min_width=SAMPLE_WIDTH, visible=False) as column:
        player = gr.Audio(
            label=f"Sample {number}",
            interactive=False,
            buttons=["download"],
            waveform_options=gr.WaveformOptions(show_recording_waveform=False),  # the plot shows more
            elem_classes="sample",
        )
        plot = gr.HTML("")
    return column, player, plot


def build_page(
    form: SpeechForm,
    live_streams: LiveAudioStreams,
    about: str,
    concurrency_limit: int,
    queue_size: int,
    examples: Sequence[Example] = (),
) -> gr.Blocks:
    """
    Builds the Gradio page.

    Args:
        form ([`SpeechForm`]): the actions.
        live_streams ([`LiveAudioStreams`]): the streams; the application must include their router.
        about (`str`): description of the model, in Markdown.
        concurrency_limit (`int`): most users whose texts are spoken at a time.
        queue_size (`int`): most further users that wait.
        examples: rows of text, language, recording (or None) and transcript, which fill the form at a click.
    """
    page = Page(form, live_streams)
    with gr.Blocks(title="T5Gemma-TTS", analytics_enabled=False, delete_cache=(CHECK_SECONDS, KEPT_SECONDS)) as blocks:
        gr.Markdown(f"# T5Gemma-TTS\n{about}")
        with gr.Row():
            with gr.Column(min_width=COLUMN_WIDTH):
                text = gr.Textbox(label="Text", lines=4, max_lines=14, placeholder="Text to speak")
                language = gr.Dropdown(LANGUAGES, value="", label="Language")
                with gr.Accordion("Voice cloning", open=False):
                    gr.Markdown("3 to 10 seconds of one speaker. Use only voices whose owners have agreed.")
                    reference = accept_only_uploads(
                        gr.Audio(
                            label="Recording",
                            sources=["upload", "microphone"],
                            type="filepath",
                            editable=False,
                            buttons=[],
                        )
                    )
                    reference_text = gr.Textbox(
                        "", label="Transcript", lines=2, placeholder="The words of the recording"
                    )
                    transcribe = gr.Button("Transcribe", size="sm")
                estimate = gr.Markdown("Estimated length: –", elem_id="estimate")
                choose_length = gr.Checkbox(label="Choose the length")
                length = gr.Slider(MIN_SECONDS, form.max_seconds, step=0.1, label="Length (s)", interactive=False)
                speed = gr.Slider(MIN_SPEED, MAX_SPEED, value=1.0, step=0.05, label="Speed")
                with gr.Accordion("Samples and sampling", open=False):
                    samples = gr.Slider(
                        1, max(2, form.max_samples), value=1, step=1, label="Samples", visible=form.max_samples > 1
                    )
                    new_seed = gr.Checkbox(label="Random seed", value=True)
                    page.seed = gr.Number(
                        value=0, precision=0, label="Seed", info="Seed of the last speech; use it again to repeat it"
                    )
                    sampling = sampling_sliders(form.synthesis.model.generation_config)
                live = gr.Checkbox(label="Play while generating", value=True)
                long_text = gr.Checkbox(label="Long text (speak it in pieces)")
                with gr.Row():
                    speak = gr.Button("Speak", variant="primary", min_width=120)
                    stop = gr.Button("Stop", min_width=80)
            with gr.Column(min_width=COLUMN_WIDTH):
                page.status = gr.Markdown("No speech yet.", elem_id="status")
                page.player = gr.HTML("", js_on_load=LIVE_SCRIPT)
                with gr.Row():
                    page.slots = [sample_slot(number) for number in range(1, form.max_samples + 1)]
        if examples:
            gr.Examples(
                [list(row) for row in examples],
                [text, language, reference, reference_text],
                example_labels=[f"Clone {Path(row[2]).stem}: {row[0]}" if row[2] else row[0] for row in examples],
            )

        inputs: list[Any] = [text, language, reference, reference_text]
        gr.on(
            [*(field.change for field in [*inputs, speed, long_text, choose_length]), blocks.load],
            page.estimate,
            [*inputs, speed, long_text, choose_length, length],
            [estimate, length],
            trigger_mode="always_last",
            show_progress="hidden",
            concurrency_limit=concurrency_limit,
        )
        transcribe.click(page.transcribe, reference, reference_text, concurrency_limit=1)
        speaking = speak.click(
            page.speak,
            [*inputs, choose_length, length, speed, long_text, live, *sampling, new_seed, page.seed, samples],
            [page.status, page.player, page.seed, *(part for slot in page.slots for part in slot)],
            show_progress_on=page.status,
            concurrency_limit=concurrency_limit,
        )
        stop.click(None, cancels=speaking)
    return blocks.queue(max_size=concurrency_limit + queue_size)


__all__ = ["CSS", "EXAMPLES", "THEME", "Example", "build_page"]
