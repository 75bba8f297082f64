"""The web page in a browser: Chromium types, presses and listens."""

import re
import shutil

import pytest
from pages import HEARD, close_form, live_page, open_form
from serving import PATIENCE_SECONDS, Steps, wait_until
from voices import write_voice

from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.cli.ui import nano_examples
from t5gemma_tts.serving.limits import Limits


sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
).split()
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
TEXT = "Good morning! The train to London leaves at seven o'clock."
SOUNDS = "() => [...document.querySelectorAll('.sample audio')].filter(a => a.src).map(a => a.duration)"
LIVE = (
    "() => { const a = document.querySelector('audio.live-sound'); return a && [a.currentTime, a.duration, a.ended]; }"
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """SpeechForm of the packaged voice, and the address of its page."""
    form = open_form(NANO, limits=Limits(max_characters=1000), max_samples=4)
    with pytest.MonkeyPatch.context() as patch:
        with live_page(form, patch, tmp_path_factory.mktemp("gradio"), examples=nano_examples()) as url:
            yield form, url
    close_form(form)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=CHROMIUM, headless=True, args=SWITCHES
        )
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        sync_api.expect.set_options(timeout=PATIENCE_SECONDS * 1000)
        yield context
        context.close()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request, nano, chromium):
    """The page, open; when it is left, nothing was fetched from elsewhere and nothing went wrong in it."""
    page = chromium.new_page()
    page.set_viewport_size(request.param)
    asked, faults = [], []
    page.on("request", lambda sent: asked.append(sent.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(nano[1])
    page.get_by_label("Text", exact=True).wait_for()
    yield page
    assert_it_fits(page)
    page.close()
    assert [url for url in asked if not url.startswith((nano[1], "data:", "blob:"))] == []
    assert faults == []


def assert_it_fits(page) -> None:
    """Nothing sticks out to the right, and what can be pressed can be hit."""
    width = page.viewport_size["width"]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    for name in ("Speak", "Stop"):
        box = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert box["width"] >= 80 and box["height"] >= 32 and box["x"] >= 0 and box["x"] + box["width"] <= width


def open_part(page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def choose_length(page, seconds: float) -> None:
    page.get_by_label("Choose the length").check()
    field = page.get_by_label("number input for Length (s)")
    sync_api.expect(field).to_be_enabled()
    field.fill(str(seconds))
    field.press("Tab")


def press(page, name: str = "Speak") -> None:
    page.get_by_role("button", name=name, exact=True).click()


def wait_for_status(page, text: str) -> None:
    page.locator("#status").get_by_text(re.compile(text)).wait_for()


def lengths_of(page, count: int) -> list[float]:
    """Seconds of the samples' players, once they know them."""
    page.wait_for_function(
        f"() => {{ const found = ({SOUNDS})(); return found.length == {count} && !found.some(isNaN); }}"
    )
    return page.evaluate(SOUNDS)


def test_type_press_and_listen(page):
    page.get_by_label("Text", exact=True).fill(TEXT)
    page.get_by_text(re.compile(r"Estimated length: \d")).wait_for()
    choose_length(page, 3.0)
    page.get_by_label("Play while generating").uncheck()
    press(page)
    wait_for_status(page, "Done · seed")
    (seconds,) = lengths_of(page, 1)
    assert seconds == pytest.approx(3.0, abs=0.35)
    player = page.locator(".sample audio")
    player.evaluate("audio => audio.play()")
    page.wait_for_function("() => document.querySelector('.sample audio').ended")
    assert player.evaluate("audio => audio.currentTime") == pytest.approx(seconds, abs=0.05)
    picture = page.locator("img.sound-picture")
    assert picture.evaluate("image => image.naturalWidth") > 600 and picture.bounding_box()["width"] > 200
    with page.expect_download() as download:
        page.locator(".sample").get_by_role("link").or_(page.get_by_label("Download")).first.click()
    assert re.fullmatch(r"speech-seed-\d+\.wav", download.value.suggested_filename)


def test_the_estimate_moves_the_slider(page):
    text, length = page.get_by_label("Text", exact=True), page.get_by_label("number input for Length (s)")
    text.fill(TEXT)
    sync_api.expect(page.locator("#estimate")).to_contain_text(re.compile(r"\d\.\d s"))
    short = float(re.search(r"([\d.]+) s", page.locator("#estimate").inner_text())[1])
    sync_api.expect(length).to_have_value(f"{short:g}")
    sync_api.expect(length).to_be_disabled()
    text.fill(f"{TEXT} {TEXT}")
    sync_api.expect(length).not_to_have_value(f"{short:g}")
    assert float(length.input_value()) == pytest.approx(2 * short, rel=0.2)


def test_audio_starts_before_the_end(page, nano, monkeypatch):
    steps = Steps(monkeypatch)
    page.get_by_label("Text", exact=True).fill(f"{TEXT} {TEXT} {TEXT}")
    choose_length(page, 9.0)
    press(page)
    wait_for_status(page, "Speaking")
    wait_until(lambda: len(steps.sizes) > 130)  # 2.6 s of it, three pieces of which are out
    steps.hold()
    assert steps.held.wait(PATIENCE_SECONDS)
    page.wait_for_function(f"() => ({LIVE})()?.[0] > 0.1")  # it is heard, and its end is not even made
    assert nano[0].synthesis.num_admitted == 1 and page.evaluate(SOUNDS) == []
    steps.open.set()
    wait_for_status(page, "Done · seed")
    page.wait_for_function(f"() => ({LIVE})()[2]")
    heard, known, _ = page.evaluate(LIVE)
    (seconds,) = lengths_of(page, 1)
    assert heard == pytest.approx(known, abs=0.1) and known == pytest.approx(seconds, abs=0.2)


def test_a_grid_with_seeds_that_can_be_repeated(page):
    page.get_by_label("Text", exact=True).fill("Good morning!")
    choose_length(page, 1.2)
    page.get_by_label("Play while generating").uncheck()
    open_part(page, "Samples and sampling")
    page.get_by_label("number input for Samples").fill("4")
    press(page)
    wait_for_status(page, r"4 of 4 samples · seed \d")
    assert lengths_of(page, 4) == pytest.approx([1.2] * 4, abs=0.6)
    boxes = [page.locator(".sample").nth(number).bounding_box() for number in range(4)]
    columns = {round(box["x"]) for box in boxes}
    assert len(columns) == (1 if page.viewport_size == PHONE else 2)
    sources = page.evaluate("() => [...document.querySelectorAll('.sample audio')].map(a => a.src.split('/').at(-2))")
    assert len(set(sources)) == 4
    seed = page.get_by_label("Seed", exact=True).input_value()
    page.get_by_label("Random seed").uncheck()
    page.get_by_label("number input for Samples").fill("1")
    press(page)
    wait_for_status(page, f"Done · seed {seed}")
    lengths_of(page, 1)
    again = page.evaluate("() => document.querySelector('.sample audio').src.split('/').at(-2)")
    assert again == sources[0]  # the folder is named after what is in the file


def test_clone_with_an_uploaded_file(page, tmp_path):
    recording = write_voice(tmp_path / "voice.wav", 3 * 16000)
    page.get_by_label("Text", exact=True).fill(TEXT)
    choose_length(page, 2.0)
    open_part(page, "Voice cloning")
    page.locator("input[type=file]").first.set_input_files(recording)
    press(page, "Transcribe")
    sync_api.expect(page.get_by_label("Transcript", exact=True)).to_have_value(HEARD)
    press(page)
    wait_for_status(page, "Done · seed")
    assert lengths_of(page, 1) == pytest.approx([2.0], abs=1.0)


def test_a_recording_by_microphone(page):
    open_part(page, "Voice cloning")
    page.get_by_label("Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    page.get_by_text(re.compile(r"0:0[12]")).first.wait_for()  # seconds of Chromium's beeps
    page.wait_for_timeout(1000)
    with page.expect_response(re.compile("/upload")):
        page.get_by_role("button", name="Stop", exact=True).first.click()
    press(page, "Transcribe")
    sync_api.expect(page.get_by_label("Transcript", exact=True)).to_have_value(HEARD)


def test_an_example_clones(page):
    page.get_by_text(re.compile("^Clone hibari")).first.click()
    sync_api.expect(page.get_by_label("Text", exact=True)).to_have_value(TEXT)
    choose_length(page, 3.0)
    press(page)
    wait_for_status(page, "Done · seed")
    assert lengths_of(page, 1) == pytest.approx([3.0], abs=0.5)


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda page, tmp: None, "The text is empty. Please write a text."),
        (lambda page, tmp: page.get_by_label("Text", exact=True).fill("word " * 300), "The text has 1,500 characters"),
        (lambda page, tmp: send(page, tmp, b"no sound", "Words."), "The recording cannot be used"),
        (lambda page, tmp: send(page, tmp, None, ""), "The recording has no transcript"),
    ],
    ids=["empty", "long", "broken-file", "no-transcript"],
)
def test_bad_input_shows_its_message(page, tmp_path, fill, message):
    fill(page, tmp_path)
    press(page)
    told = page.get_by_test_id("toast-text").filter(has_text=message)
    told.wait_for()
    box = told.bounding_box()
    assert 0 <= box["x"] and box["x"] + box["width"] <= page.viewport_size["width"]
    page.get_by_label("Text", exact=True).fill("Good morning!")  # and the page goes on
    sync_api.expect(page.get_by_role("button", name="Speak", exact=True)).to_be_enabled()


def send(page, folder, data: bytes | None, transcript: str) -> None:
    path = folder / "voice.wav"
    write_voice(path, 16000) if data is None else path.write_bytes(data)
    page.get_by_label("Text", exact=True).fill(TEXT)
    open_part(page, "Voice cloning")
    with page.expect_response(re.compile("/upload")):
        page.locator("input[type=file]").first.set_input_files(path)
    page.get_by_label("Transcript", exact=True).fill(transcript)


@pytest.mark.parametrize("leave", [lambda page: press(page, "Stop"), lambda page: page.goto("about:blank")])
def test_leaving_the_page_frees_the_slot(nano, chromium, monkeypatch, leave):
    steps = Steps(monkeypatch)
    page = chromium.new_page()
    page.goto(nano[1])
    page.get_by_label("Text", exact=True).fill(f"{TEXT} " * 12)
    choose_length(page, 60.0)
    press(page)
    wait_for_status(page, "Speaking")
    steps.hold()
    assert steps.held.wait(PATIENCE_SECONDS)
    assert nano[0].synthesis.num_admitted == 1
    leave(page)
    steps.open.set()
    wait_until(lambda: nano[0].synthesis.num_admitted == nano[0].synthesis.worker.num_running == 0)
    assert len(steps.sizes) < 2500  # of the 60 s
    page.close()
