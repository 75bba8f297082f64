"""The web page as a program meets it: by Gradio's client and over HTTP, without a browser."""

import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from pages import HEARD, close_form, live_page, open_form
from serving import PATIENCE_SECONDS, Steps, decode_with_av, wait_until
from test_serving_uploads import file_of
from voices import CUTOFF_FRAMES, write_voice

from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.cli import ui
from t5gemma_tts.serving.errors import BadRequest
from t5gemma_tts.serving.limits import Limits
from t5gemma_tts.ui import live_audio, page


WISH = {"text": "Hello there.", "language": "en", "choose_length": True, "length": 0.6, "new_seed": False, "seed": 3}
SECONDS = 0.6 + CUTOFF_FRAMES / 50  # of the speech_options
STATUS, PLAYER, SEED, SAMPLES = range(4)  # of what is answered, the last being sound and picture of each sample


class App:
    def __init__(self, url: str, form):
        self.url, self.form = url, form
        self.client = Client(url, verbose=False, analytics_enabled=False)

    def speak(self, **changes):
        return self.client.predict(api_name="/speak", **WISH | changes)

    def submit(self, **changes):
        return self.client.submit(api_name="/speak", **WISH | changes)


@pytest.fixture(scope="module")
def app(checkpoint, tmp_path_factory):
    form = open_form(checkpoint, limits=Limits(max_characters=1000, max_reference_bytes=200_000))
    with pytest.MonkeyPatch.context() as patch:
        addresses = []
        connect = socket.socket.connect
        patch.setattr(socket.socket, "connect", lambda self, to: addresses.append(to) or connect(self, to))
        with live_page(form, patch, tmp_path_factory.mktemp("gradio"), examples=[("Hi.", "en", None, "")]) as url:
            running = App(url, form)
            running.addresses = addresses
            yield running
            running.client.close()
    close_form(form)


def sound_of(answer, number: int = 1) -> np.ndarray:
    sound, picture = answer[SAMPLES + 2 * number - 2 :][:2]
    assert 'src="data:image/png;base64,' in picture
    samples, rate = soundfile.read(sound["value"], dtype="int16")
    assert rate == 16000
    return samples


def test_speech_by_the_client(app):
    answer = app.speak(live=False)
    assert answer[STATUS] == "Done · seed 3" and answer[SEED] == 3
    assert len(sound_of(answer)) == round(SECONDS * 16000)
    assert answer[SAMPLES]["label"] == f"Sample 1 · {SECONDS:.1f} s · seed 3" and "seed-3" in answer[SAMPLES]["value"]
    np.testing.assert_array_equal(sound_of(app.speak(live=False)), sound_of(answer))
    other = app.speak(live=False, new_seed=True)
    assert other[SEED] != 3 and (sound_of(other) != sound_of(answer)).any()


def test_a_grid_of_samples(app):
    job = app.submit(live=False, num_samples=3)
    job.result(PATIENCE_SECONDS)
    assert [answer[STATUS] for answer in job.outputs()] == [f"{number} of 3 samples · seed 3" for number in (1, 2, 3)]
    sounds = [sound_of(answer, number) for number, answer in enumerate(job.outputs(), 1)]
    assert {len(sound) for sound in sounds} == {round(SECONDS * 16000)}
    for number, sound in enumerate(sounds, 1):
        np.testing.assert_array_equal(sound_of(job.outputs()[-1], number), sound)  # the last answer has them all
    assert (sounds[0] != sounds[1]).any() and (sounds[1] != sounds[2]).any()


def test_live_audio(app, monkeypatch):
    steps = Steps(monkeypatch)
    job = app.submit(live=True, length=8.0)
    wait_until(lambda: any(isinstance(answer[PLAYER], str) and answer[PLAYER] for answer in job.outputs()))
    address = next(re.search('data-url="([^"]+)"', answer[PLAYER])[1] for answer in job.outputs())
    steps.hold()
    assert steps.held.wait(PATIENCE_SECONDS)
    with httpx.stream("GET", f"{app.url}/{address}", timeout=PATIENCE_SECONDS) as stream:
        assert stream.headers["content-type"] == "audio/mpeg"
        pieces = stream.iter_bytes()
        data = next(pieces)
        assert not job.done()  # it is heard before its end
        steps.open.set()
        data += b"".join(pieces)
    final = job.result(PATIENCE_SECONDS)
    live, rate = decode_with_av(data)
    whole = sound_of(final)
    assert len(whole) == 16000 * 8 + 320 * CUTOFF_FRAMES
    assert abs(len(live) / rate - len(whole) / 16000) < 0.2
    assert httpx.get(f"{app.url}/{address}").content == data  # for those who want it once more
    assert httpx.get(f"{app.url}/live/none.mp3").status_code == 404


def test_a_voice(app, tmp_path):
    recording = handle_file(write_voice(tmp_path / "voice.wav", 16000))
    assert app.client.predict(recording, api_name="/transcribe") == HEARD
    cloned = app.speak(live=False, reference=recording, reference_text=HEARD)
    assert (sound_of(cloned) != sound_of(app.speak(live=False))).any()


def test_estimates(app):
    options = {"text": "Hello there.", "language": "en", "speed": 0.5}
    words, slider = app.client.predict(api_name="/estimate", **options)
    seconds = float(re.fullmatch(r"Estimated length: \*\*([\d.]+) s\*\*", words)[1])
    assert slider["value"] == seconds > 1 and not slider["interactive"]
    words, slider = app.client.predict(api_name="/estimate", **options, choose_length=True, length=7)
    assert slider["value"] == 7 and slider["interactive"]
    assert app.client.predict(api_name="/estimate", **options | {"text": ""})[0] == "Estimated length: –"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": " "}, "The text is empty"),
        ({"text": "<b>" * 500}, "The text has 1,500 characters; at most 1,000 are allowed"),
        ({"reference_text": "Words."}, "There is a transcript but no recording"),
        ({"speed": 5}, "5"),
        ({"seed": -1}, "The seed must be a whole number from 0"),
        ({"seed": None}, "Seed must be a whole number, got nothing"),
        ({"top_k": 2.5}, "Top k must be a whole number, got 2.5"),
        ({"temperature": 0.001}, "must be 0, or at least"),
        ({"num_samples": 4}, "4"),
        ({"language": "xx"}, "xx"),
        ({"long_text": True}, "A long text has no chosen length"),
    ],
)
def test_messages(app, changes, message):
    with pytest.raises(AppError, match=re.escape(message)):
        app.speak(**changes)
    assert app.form.synthesis.num_admitted == 0


def test_messages_about_recordings(app, tmp_path):
    (tmp_path / "voice.wav").write_bytes(b"no sound")
    bad = handle_file(tmp_path / "voice.wav")
    with pytest.raises(AppError, match="The recording cannot be used: .*cannot be decoded"):
        app.client.predict(bad, api_name="/transcribe")
    with pytest.raises(AppError, match="no recording to transcribe"):
        app.client.predict(None, api_name="/transcribe")
    good = handle_file(write_voice(tmp_path / "good.wav", 16000))
    with pytest.raises(AppError, match="The recording has no transcript"):
        app.speak(reference=good)


def test_message_is_escaped(app, monkeypatch):
    def hear(*anything):
        raise BadRequest("<script>alert(1)</script>")

    monkeypatch.setattr(app.form, "_transcribe_file", hear)
    with pytest.raises(AppError, match="&lt;script&gt;"):
        app.client.predict(handle_file(__file__), api_name="/transcribe")


def test_internal_errors_are_not_shown(app, monkeypatch):
    def hear(*anything):
        raise RuntimeError("the secret")

    monkeypatch.setattr(app.form, "_transcribe_file", hear)
    with pytest.raises(AppError) as caught:
        app.client.predict(handle_file(__file__), api_name="/transcribe")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("as_stream", [False, True])
@pytest.mark.parametrize(
    "path", ["{nano}/audio/hibari-validation-00001.wav", "{uploads}/../none.wav", "{url}/theme.css"]
)
def test_only_uploaded_files_are_read(app, path, as_stream):
    path = path.format(nano=NANO, uploads=get_upload_folder(), url=app.url)
    body = {"data": [{"path": path, "is_stream": as_stream, "meta": {"_type": "gradio.FileData"}}]}
    call = f"{app.url}/gradio_api/call/transcribe"
    event = httpx.post(call, json=body).json()["event_id"]
    text = httpx.get(f"{call}/{event}", timeout=PATIENCE_SECONDS).text
    assert "event: error" in text and "Only uploaded recordings can be used" in text


def test_other_files_are_not_served(app):
    for path in (Path(NANO) / "config.json", __file__):
        assert httpx.get(f"{app.url}/gradio_api/file={path}").status_code == 403


def test_large_files_are_refused(app):
    files = {"files": ("voice.wav", file_of(np.zeros(200_000, dtype=np.int16)))}
    assert httpx.post(f"{app.url}/gradio_api/upload", files=files).status_code == 413


@pytest.mark.slow
def test_uploads_and_outputs_are_deleted(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "KEPT_SECONDS", 15)
    monkeypatch.setattr(page, "CHECK_SECONDS", 1)
    monkeypatch.setattr(live_audio.LiveAudioStreams.__init__, "__defaults__", (5.0,))
    form = open_form(checkpoint)
    uploads = tmp_path / "gradio"
    with live_page(form, monkeypatch, uploads) as url:
        app = App(url, form)
        recording = handle_file(write_voice(tmp_path / "voice.wav", 16000))
        job = app.submit(live=True, reference=recording, reference_text=HEARD)
        job.result(PATIENCE_SECONDS)
        address = next(re.search('data-url="([^"]+)"', answer[PLAYER])[1] for answer in job.outputs())
        assert {path.name for path in uploads.rglob("*.wav")} == {"voice.wav", "speech-seed-3.wav"}
        wait_until(lambda: not list(uploads.rglob("*.wav")))
        wait_until(lambda: httpx.get(f"{url}/{address}").status_code == 404)
        app.client.close()
    close_form(form)


def test_cancellation_frees_the_slot(app, monkeypatch):
    steps = Steps(monkeypatch)
    job = app.submit(live=True, length=100.0)
    wait_until(lambda: len(job.outputs()) > 1)
    steps.hold()
    assert app.form.synthesis.num_admitted == 1
    job.cancel()
    steps.open.set()
    wait_until(lambda: app.form.synthesis.num_admitted == app.form.synthesis.worker.num_running == 0)
    assert len(steps.sizes) < 5000  # of the 100 s


def test_concurrent_users_share_a_batch_and_others_wait(app, monkeypatch):
    steps = Steps(monkeypatch)
    with ThreadPoolExecutor(6) as people:
        answers = list(people.map(lambda seed: app.speak(live=False, seed=seed), range(6)))
    assert 1 < max(steps.sizes) <= 4  # of the form's synthesis
    assert [answer[SEED] for answer in answers] == list(range(6))
    for answer in answers[:1]:
        np.testing.assert_array_equal(sound_of(answer), sound_of(app.speak(live=False, seed=answer[SEED])))


def test_page_makes_no_external_requests(app):
    text = httpx.get(app.url).text
    assert "T5Gemma-TTS" in text
    loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?:[^\"]+)", text)
    assert [address for address in loaded if not address.startswith(app.url)] == []
    theme = httpx.get(f"{app.url}/theme.css").text
    assert "system-ui" in theme and not re.search(r"(url\(|@import)\W*http", theme)
    assert {address[0] for address in app.addresses if isinstance(address, tuple)} <= {"127.0.0.1"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "99999"], "cannot listen at 127.0.0.1, port 99999"),
        (["--queue-size", "-1"], "--queue-size must not be negative, got -1"),
        (["--model", "."], "'.' is not a checkpoint"),
        (["--low-memory", "--device", "nothing"], "`device` 'nothing' is not usable here"),
    ],
)
def test_refusals_of_the_command(run, options, message):
    code, out, err = run("ui", *options, *([] if "--port" in options else ["--port", "0"]))
    assert code == 1 and out == "" and message in err


def test_the_command_without_its_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "t5gemma_tts.ui.server", None)
    code, _, err = run("ui")
    assert code == 1 and 'the web page needs `pip install "t5gemma-tts[ui]"`' in err


def test_model_description_on_the_page(tmp_path):
    assert "nano" in ui.about(NANO)
    assert "`me/voice`" in ui.about("me/voice") and str(tmp_path) not in ui.about(str(tmp_path))
    for _, language, recording, said in ui.nano_examples():
        assert language == "en" and (recording is None) == (said == "")
        assert recording is None or soundfile.info(recording).duration > 1


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--low-memory"]])
def test_the_command(options, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-m", "t5gemma_tts", "ui", "--port", "0", "--log-level", "warning", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = re.fullmatch(r"open (http://\S+) in a browser\n", process.stdout.readline())[1]
        client = Client(url, verbose=False, analytics_enabled=False)
        answer = client.predict(api_name="/speak", text="Good morning!", choose_length=True, length=1.5, live=False)
        assert len(sound_of(answer)) / 16000 == pytest.approx(1.5, abs=0.6)
        assert list(tmp_path.glob("t5gemma-tts-*/**/*.wav"))
        client.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        process.stdout.close()
    assert not list(tmp_path.glob("t5gemma-tts-*"))  # nothing of what people heard is left
