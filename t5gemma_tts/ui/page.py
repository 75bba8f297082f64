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
from .form import SpeechForm, Take
from .live_audio import LiveAudio, LiveAudioStreams
from .options import MAX_SPEED, MIN_SPEED, SpeechOptions


LANGUAGES = [("Detect", ""), ("English", "en"), ("日本語", "ja"), ("中文", "zh")]
Example = tuple[str, str, str | None, str]  # text, language, recording and transcript
EXAMPLES: list[Example] = [
    ("Good morning! The train to London leaves at seven o'clock.", "en", None, ""),
    ("Thirteen buttons cost forty-one dollars and fifty-one cents.", "en", None, ""),
    ("おはようございます。今日はいい天気ですね。", "ja", None, ""),
    ("早上好！今天天气很好。", "zh", None, ""),
]
LIVE_SCRIPT = Path(__file__).with_name("live.js").read_text(encoding="utf-8")
MIN_SECONDS = 0.5
COLUMN_WIDTH, SLOT_WIDTH = 320, 280  # pixels, at least: narrower screens have less beside each other
MESSAGE_SECONDS = 30
KEPT_SECONDS, CHECK_SECONDS = 3600, 600  # of files that were made or sent
# fonts that are there already: nothing is fetched from anywhere
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
def told() -> Iterator[None]:
    """What whoever presses can do something about becomes a message on the page; all else is for the log only."""
    try:
        yield
    except (ServingError, ImportError) as error:
        raise gr.Error(html.escape(str(error)), duration=MESSAGE_SECONDS, print_exception=False) from error


def uploaded(path: str | Path | None) -> Path | None:
    """
    A recording that somebody sent here.

    Raises:
        BadRequest: for any other file: API calls can name what they like.
    """
    if path is None:
        return None
    if not Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise BadRequest("Only uploaded recordings can be used.", "reference_audio")
    return Path(path)


def only_uploads(recording: gr.Audio) -> gr.Audio:
    """Gradio itself would copy files of this machine to where uploads are, and fetch addresses, for who names them."""
    move = recording.async_move_resource_to_block_cache

    async def move_upload(path: str | Path | None) -> str | None:
        with told():
            uploaded(path)
        return await move(path)

    recording.async_move_resource_to_block_cache = move_upload  # type: ignore[method-assign, assignment]  # of this one
    return recording


def whole(label: str, value: float | None) -> int:
    """A number that somebody filled in, or did not."""
    if value is None or not math.isfinite(value) or value != round(value):
        raise BadRequest(f"{label} must be a whole number, got {'nothing' if value is None else value}.")
    return round(value)


def name_of(number: int, take: Take) -> str:
    return f"Sample {number} · {take.seconds:.1f} s · seed {take.seed}"


def live_player(sound: LiveAudio) -> str:
    return f'<audio class="live-sound" controls data-address="{sound.address}"></audio>'


class Page:
    """
    What the buttons call. Everything that can be pressed is an endpoint of Gradio's API, too.

    Args:
        form ([`SpeechForm`])
        live_sounds ([`LiveAudioStreams`]): whose router is beside the page.
    """

    status: gr.Markdown  # `build_page` puts these on the page
    player: gr.HTML
    seed: gr.Number

    def __init__(self, form: SpeechForm, live_sounds: LiveAudioStreams):
        self.form, self.live_sounds = form, live_sounds
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
        """How long the text will take, in words, and where the slider stands, in seconds."""
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
        """What is said in a recording."""
        with told():
            return await self.form.transcribe(uploaded(reference))

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
        """Speak a text. The seed that was used is in each sample's name."""
        with told():
            speech_options = self._speech_options(
                text,
                language,
                reference,
                reference_text,
                long_text,
                duration_seconds=length if choose_length else None,
                speed=speed,
                temperature=temperature,
                top_k=None if top_k is None else whole("Top k", top_k),
                top_p=top_p,
                min_p=min_p,
                seed=None if new_seed else whole("Seed", seed),
                num_samples=whole("Samples", num_samples),
            )
        heard, shown = 0, dict[Block, Any]()
        with self.live_sounds.open() if live else nullcontext() as sound, told():
            async with aclosing(self.form.speak(speech_options, live)) as all_news:
                async for news in all_news:
                    if sound is not None and news.piece is not None:
                        if not heard:
                            yield self._cleared(live_player(sound))
                        heard += len(news.piece)
                        await sound.push(news.piece)
                        yield {self.status: f"Speaking … {heard / self.form.synthesis.sampling_rate:.1f} s"}
                    else:
                        if sound is not None and not sound.ended:
                            await sound.finish()
                        latest = await self._shown(news.takes, speech_options.num_samples, live)
                        shown |= {part: copy(value) for part, value in latest.items()}  # Gradio empties what it gets
                        # all of it again at the end: a busy browser may have left out what came in quick succession
                        yield shown if len(news.takes) == speech_options.num_samples else latest

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
            reference=uploaded(reference),
            reference_text=reference_text or "",
            in_pieces=bool(long_text),
            **options,
        )

    def _cleared(self, player: str = "") -> dict[Block, Any]:
        """Nothing of the last speech is left."""
        return {self.player: player} | {column: gr.update(visible=False) for column, _, _ in self.slots}

    async def _shown(self, takes: tuple[Take, ...], num_wanted: int, live: bool) -> dict[Block, Any]:
        """The newest of the takes in its place, and how far the rest is."""
        number, take = len(takes), takes[-1]
        column, player, picture = self.slots[number - 1]
        file_name = f"speech-seed-{take.seed}.wav"
        data = await self.form.synthesis.run_on_codec_thread(encode_audio, take.waveform, take.sampling_rate, "wav")
        path = save_bytes_to_cache(data, file_name, get_upload_folder())
        done = f"{number} of {num_wanted} samples" if num_wanted > 1 else "Done"
        shown: dict[Block, Any] = {
            self.status: f"{done} · seed {takes[0].seed}",
            self.seed: takes[0].seed,
            column: gr.update(visible=True),
            player: gr.update(value=path, label=name_of(number, take)),
            picture: await self.form.picture(take, f"Sample {number}"),
        }
        return shown if live or number > 1 else self._cleared() | shown


def sampling_sliders(defaults: GenerationConfig) -> list[gr.Slider]:
    """
    Temperature, top k, top p and min p, where the model has them.

    Args:
        defaults (`GenerationConfig`)
    """
    temperature = 1.0 if defaults.temperature is None else defaults.temperature
    top_p = 1.0 if defaults.top_p is None else defaults.top_p
    return [
        gr.Slider(0, 2, value=temperature, step=0.05, label="Temperature", info="0 takes the best token always"),
        gr.Slider(0, 200, value=defaults.top_k or 0, step=1, label="Top k", info="0 is off"),
        gr.Slider(0.01, 1, value=top_p, step=0.01, label="Top p", info="1 is off"),
        gr.Slider(0, 1, value=defaults.min_p or 0.0, step=0.01, label="Min p", info="0 is off"),
    ]


def sample_slot(number: int) -> tuple[gr.Column, gr.Audio, gr.HTML]:
    """Room for one sample and its picture, hidden until there is one."""
    with gr.Column(min_width=SLOT_WIDTH, visible=False) as column:
        player = gr.Audio(
            label=f"Sample {number}",
            interactive=False,
            buttons=["download"],
            waveform_options=gr.WaveformOptions(show_recording_waveform=False),  # the picture shows more
            elem_classes="sample",
        )
        picture = gr.HTML("")
    return column, player, picture


def build_page(
    form: SpeechForm,
    live_sounds: LiveAudioStreams,
    about: str,
    people: int,
    queue_size: int,
    examples: Sequence[Example] = (),
) -> gr.Blocks:
    """
    Args:
        form ([`SpeechForm`]), live_sounds ([`LiveAudioStreams`])
        about (`str`): of the model, in Markdown.
        people (`int`): who are spoken to at a time.
        queue_size (`int`): further ones that may wait.
        examples: rows of text, language, and for cloning a recording and its transcript, to be tried with a click.
    """
    page = Page(form, live_sounds)
    with gr.Blocks(title="T5Gemma-TTS", analytics_enabled=False, delete_cache=(CHECK_SECONDS, KEPT_SECONDS)) as blocks:
        gr.Markdown(f"# T5Gemma-TTS\n{about}")
        with gr.Row():
            with gr.Column(min_width=COLUMN_WIDTH):
                text = gr.Textbox(label="Text", lines=4, max_lines=14, placeholder="What shall be said?")
                language = gr.Dropdown(LANGUAGES, value="", label="Language")
                with gr.Accordion("Voice of a recording", open=False):
                    gr.Markdown("3 to 10 seconds of one speaker. Only use voices whose owners have agreed.")
                    reference = only_uploads(
                        gr.Audio(
                            label="Recording",
                            sources=["upload", "microphone"],
                            type="filepath",
                            editable=False,
                            buttons=[],
                        )
                    )
                    reference_text = gr.Textbox("", label="Transcript", lines=2, placeholder="What is said in it")
                    transcribe = gr.Button("Transcribe", size="sm")
                estimate = gr.Markdown("Estimated length: –", elem_id="estimate")
                choose_length = gr.Checkbox(label="Choose the length")
                length = gr.Slider(MIN_SECONDS, form.max_seconds, step=0.1, label="Length (s)", interactive=False)
                speed = gr.Slider(MIN_SPEED, MAX_SPEED, value=1.0, step=0.05, label="Speed")
                with gr.Accordion("Samples and sampling", open=False):
                    samples = gr.Slider(
                        1, max(2, form.max_samples), value=1, step=1, label="Samples", visible=form.max_samples > 1
                    )
                    new_seed = gr.Checkbox(label="A new seed each time", value=True)
                    page.seed = gr.Number(
                        value=0, precision=0, label="Seed", info="The last one, to hear the same again"
                    )
                    sampling = sampling_sliders(form.synthesis.model.generation_config)
                live = gr.Checkbox(label="Play while it is spoken", value=True)
                long_text = gr.Checkbox(label="Long text, spoken in pieces")
                with gr.Row():
                    speak = gr.Button("Speak", variant="primary", min_width=120)
                    stop = gr.Button("Stop", min_width=80)
            with gr.Column(min_width=COLUMN_WIDTH):
                page.status = gr.Markdown("Nothing said yet.", elem_id="status")
                page.player = gr.HTML("", js_on_load=LIVE_SCRIPT)
                with gr.Row():
                    page.slots = [sample_slot(number) for number in range(1, form.max_samples + 1)]
        if examples:
            gr.Examples(
                [list(row) for row in examples],
                [text, language, reference, reference_text],
                example_labels=[f"Clone {Path(row[2]).stem}: {row[0]}" if row[2] else row[0] for row in examples],
            )

        what: list[Any] = [text, language, reference, reference_text]
        gr.on(
            [*(field.change for field in [*what, speed, long_text, choose_length]), blocks.load],
            page.estimate,
            [*what, speed, long_text, choose_length, length],
            [estimate, length],
            trigger_mode="always_last",
            show_progress="hidden",
            concurrency_limit=people,
        )
        transcribe.click(page.transcribe, reference, reference_text, concurrency_limit=1)
        speaking = speak.click(
            page.speak,
            [*what, choose_length, length, speed, long_text, live, *sampling, new_seed, page.seed, samples],
            [page.status, page.player, page.seed, *(part for slot in page.slots for part in slot)],
            show_progress_on=page.status,
            concurrency_limit=people,
        )
        stop.click(None, cancels=speaking)
    return blocks.queue(max_size=people + queue_size)


__all__ = ["CSS", "EXAMPLES", "THEME", "Example", "build_page"]
