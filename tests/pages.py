"""Runs the web page for tests."""

import contextlib
import threading

from serving import PATIENCE_SECONDS, load

from t5gemma_tts.serving.server import bind_socket
from t5gemma_tts.serving.synthesis import SynthesisService
from t5gemma_tts.ui.form import SpeechForm
from t5gemma_tts.ui.server import PageServer, create_app


HEARD = "What the voice says."


def hear(waveform, sampling_rate) -> str:
    """Speech recognition that has heard it before; nothing in silence."""
    return HEARD if abs(waveform).max() > 0.01 else ""


def open_form(
    checkpoint, asr=hear, limits=None, max_samples: int = 3, max_batch_size: int = 4, **options
) -> SpeechForm:
    synthesis = SynthesisService(
        *load(checkpoint), max_batch_size=max_batch_size, queue_size=max_batch_size * (max_samples - 1)
    )
    return SpeechForm(synthesis, asr, limits, max_samples, **options)


def close_form(form: SpeechForm) -> None:
    form.close()
    form.synthesis.close(finish=False, timeout=PATIENCE_SECONDS)


@contextlib.contextmanager
def live_page(form: SpeechForm, monkeypatch, folder, queue_size: int = 8, examples=()):
    """Yields the address of the page of a form, served by a thread; Gradio's files are in `folder`."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    started = threading.Event()

    class Telling(PageServer):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            started.set()

    concurrency_limit = form.synthesis.worker.max_batch_size
    with bind_socket("127.0.0.1", 0) as listener:
        app = create_app(form, "For **tests**.", concurrency_limit, queue_size, examples)
        server = Telling(app, form, log_level="warning")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert started.wait(PATIENCE_SECONDS)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
