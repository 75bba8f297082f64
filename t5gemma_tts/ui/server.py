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


CONNECTION_CLOSE_SECONDS = 2  # time for browsers to close their connections at shutdown


def create_app(
    form: SpeechForm, about: str, concurrency_limit: int, queue_size: int, examples: Sequence[Example] = ()
) -> FastAPI:
    """The ASGI application of the page; the arguments are those of [`build_page`]."""
    live_streams = LiveAudioStreams(form.synthesis)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(live_streams.router())
    page = build_page(form, live_streams, about, concurrency_limit, queue_size, examples)
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
    """Warms up the model, prints the address, and exits with code 0 on a signal."""

    def __init__(self, app: FastAPI, form: SpeechForm, **options: Any):
        super().__init__(uvicorn.Config(app, timeout_graceful_shutdown=CONNECTION_CLOSE_SECONDS, **options))
        self.form = form

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.form.synthesis.warm_up()
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            print(f"open http://{f'[{host}]' if ':' in host else host}:{port} in a browser", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # do not raise the signal again as uvicorn does: `serve` must still delete the folder of uploads
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(
    form: SpeechForm,
    listener: socket.socket,
    about: str,
    concurrency_limit: int,
    queue_size: int,
    examples: Sequence[Example] = (),
    **options: Any,
) -> None:
    """
    Serves the page on a bound socket until a signal arrives.

    A temporary folder holds uploads and generated audio; it is deleted at the end.

    Args:
        form, about, concurrency_limit, queue_size, examples: arguments of [`build_page`].
        listener (`socket.socket`): bound socket.
        options: arguments of `uvicorn.Config`.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="t5gemma-tts-") as folder:
            os.environ["GRADIO_TEMP_DIR"] = folder
            app = create_app(form, about, concurrency_limit, queue_size, examples)
            PageServer(app, form, **options).run(sockets=[listener])
    finally:
        form.close()
        form.synthesis.close(finish=False, timeout=10)


__all__ = ["PageServer", "create_app", "serve"]
