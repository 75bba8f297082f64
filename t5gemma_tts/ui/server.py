"""The page's web server."""

import os
import socket
import tempfile
from collections.abc import Sequence
from types import FrameType
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI

from .form import SpeechForm
from .live_audio import LiveAudioStreams
from .page import CSS, THEME, Example, build_page


HANG_UP_SECONDS = 2  # that browsers have for letting go


def create_app(form: SpeechForm, about: str, people: int, queue_size: int, examples: Sequence[Example] = ()) -> FastAPI:
    """The ASGI application of a page, as [`build_page`] makes it."""
    live_sounds = LiveAudioStreams(form.synthesis)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(live_sounds.router())
    page = build_page(form, live_sounds, about, people, queue_size, examples)
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=THEME,
        css=CSS,
        footer_links=["api"],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size=form.limits.max_reference_bytes,
    )


class PageServer(uvicorn.Server):
    def __init__(self, app: FastAPI, form: SpeechForm, **options: Any):
        super().__init__(uvicorn.Config(app, timeout_graceful_shutdown=HANG_UP_SECONDS, **options))
        self.form = form

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.form.synthesis.warm_up()
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            print(f"open http://{f'[{host}]' if ':' in host else host}:{port} in a browser", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # not raised again at the end, as uvicorn does: the folder with what people sent has to go
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(
    form: SpeechForm,
    listener: socket.socket,
    about: str,
    people: int,
    queue_size: int,
    examples: Sequence[Example] = (),
    **options: Any,
) -> None:
    """
    Serves the page at a bound socket until a signal comes. What people send and hear is kept in a folder that is gone
    then.

    Args:
        form, about, people, queue_size, examples: as in [`build_page`].
        options: of `uvicorn.Config`.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="t5gemma-tts-") as folder:
            os.environ["GRADIO_TEMP_DIR"] = folder
            app = create_app(form, about, people, queue_size, examples)
            PageServer(app, form, **options).run(sockets=[listener])
    finally:
        form.close()
        form.synthesis.close(finish=False, timeout=10)


__all__ = ["PageServer", "create_app", "serve"]
