"""The desk behind the web page: estimates, transcripts, samples, long texts, and sound while it is spoken."""

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from pages import HEARD, close_desk, open_desk
from serving import PATIENCE_SECONDS, Steps, wait_until
from voices import CUTOFF_FRAMES, write_voice

from t5gemma_tts.model.duration import estimate_duration
from t5gemma_tts.serving.errors import BadRequest, QueueFull, ServingError
from t5gemma_tts.serving.limits import Limits
from t5gemma_tts.serving.studio import Job
from t5gemma_tts.ui.speaking import Desk
from t5gemma_tts.ui.wishes import Wish


WISH = Wish("Hello there.", language="de", duration_seconds=0.6, seed=3)
SAMPLES = 320 * (30 + CUTOFF_FRAMES)  # of the wish
LONG = "The first sentence is here, and it says rather little. " * 6


@pytest.fixture(scope="module")
def desk(checkpoint):
    desk = open_desk(checkpoint, limits=Limits(max_characters=1000, max_reference_seconds=2))
    yield desk
    close_desk(desk)


@pytest.fixture
def recording(tmp_path):
    return write_voice(tmp_path / "voice.wav", 16000)


def all_news(desk, wish, live=False) -> list:
    async def gather():
        return [news async for news in desk.speak(wish, live)]

    return asyncio.run(gather())


def takes_of(desk, wish) -> tuple:
    return all_news(desk, wish)[-1].takes


def test_samples_are_what_the_studio_says(desk):
    news = all_news(desk, replace(WISH, num_samples=3))
    assert [len(one.takes) for one in news] == [1, 2, 3] and all(one.piece is None for one in news)
    takes = news[-1].takes
    assert [take.seed for take in takes] == [3, 4, 5]
    for take in takes:
        job = Job(WISH.text, "de", 0.6, seed=take.seed)
        np.testing.assert_allclose(take.sound, asyncio.run(desk.studio.speak(job)).sound, atol=1e-5)
        assert len(take.sound) == SAMPLES and take.seconds == SAMPLES / 16000
    assert not np.allclose(takes[0].sound, takes[1].sound)
    assert desk.studio.num_admitted == 0


def test_without_a_seed_each_time_is_another(desk):
    seeds = {takes_of(desk, replace(WISH, seed=None))[0].seed for _ in range(3)}
    assert len(seeds) == 3


def test_what_is_heard_live_is_the_first_sample(desk):
    news = all_news(desk, replace(WISH, duration_seconds=2.0, num_samples=2), live=True)
    pieces = [one.piece for one in news if one.piece is not None]
    assert len(pieces) > 2 and [len(one.takes) for one in news[len(pieces) :]] == [1, 2]
    np.testing.assert_array_equal(np.concatenate(pieces), news[-1].takes[0].sound)


def test_in_windows(checkpoint, desk, monkeypatch):
    sparing = Desk(desk.studio, desk.asr, desk.limits, in_windows=True)
    decoded = []
    decode = desk.studio.processor.codec.decode
    monkeypatch.setattr(
        desk.studio.processor.codec, "decode", lambda codes: decoded.append(len(codes)) or decode(codes)
    )
    (take,) = takes_of(sparing, replace(WISH, duration_seconds=8.0))
    sparing.close()
    assert len(take.sound) == 320 * (400 + CUTOFF_FRAMES)
    assert max(decoded) < 320  # frames: 5 s and what is around them


def test_speed_and_length(desk):
    estimate = estimate_duration("Hello there.", language="de")
    slow, fast = (
        takes_of(desk, replace(WISH, duration_seconds=None, speed=speed))[0].seconds - CUTOFF_FRAMES / 50
        for speed in (0.5, 2.0)
    )
    assert slow == pytest.approx(2 * estimate, abs=0.02) and fast == pytest.approx(max(estimate / 2, 0.02), abs=0.02)
    assert takes_of(desk, replace(WISH, speed=2.0))[0].seconds == SAMPLES / 16000  # a chosen length is not divided


def test_a_voice(desk, recording):
    cloned = replace(WISH, reference=recording, reference_text=f" {HEARD} ")
    (take,) = takes_of(desk, cloned)
    (own,) = takes_of(desk, WISH)
    assert len(take.sound) == SAMPLES and not np.allclose(take.sound, own.sound)
    np.testing.assert_array_equal(takes_of(desk, cloned)[0].sound, take.sound)


def test_estimates(desk, recording):
    def estimate(**changes):
        return asyncio.run(desk.estimate(replace(WISH, duration_seconds=None, **changes)))

    assert estimate(text=" ") is None
    own = estimate()
    assert own == estimate_duration("Hello there.", language="de")
    assert estimate(speed=2.0) == pytest.approx(own / 2)
    known = {"reference_text": HEARD, "reference_duration_seconds": 1.0}
    expected = estimate_duration("Hello there.", language="de", **known)
    assert estimate(reference=recording, reference_text=HEARD) == pytest.approx(expected)
    assert estimate(reference=recording) == own  # until it is known what is said
    with pytest.raises(BadRequest, match="1,001 characters, 1,000 are possible"):
        estimate(text="a" * 1001)


def test_the_estimate_of_a_long_text_is_about_what_it_takes(desk):
    wish = replace(WISH, text=LONG, duration_seconds=None, in_pieces=True, speed=4.0)
    (take,) = takes_of(desk, wish)
    estimate = asyncio.run(desk.estimate(wish))
    assert estimate == pytest.approx(take.seconds, rel=0.25)  # each piece ends a little late, and edges are cut


def test_long_texts_come_in_pieces(desk):
    wish = replace(WISH, text=LONG, duration_seconds=None, in_pieces=True, speed=4.0)
    news = all_news(desk, wish, live=True)
    pieces = [one.piece for one in news[:-1]]
    assert len(pieces) > 1
    np.testing.assert_array_equal(np.concatenate(pieces), news[-1].takes[0].sound)
    np.testing.assert_allclose(takes_of(desk, wish)[0].sound, news[-1].takes[0].sound, atol=1e-5)
    assert desk.studio.num_admitted == 0


def test_transcripts(desk, recording):
    assert asyncio.run(desk.transcribe(recording)) == HEARD


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no sound", "The recording cannot be used: .* cannot be decoded"),
        (48000, "must take 0.5 to 2 seconds"),
        (800, "must take 0.5 to 2 seconds"),
    ],
)
def test_recordings_that_cannot_be_used(desk, tmp_path, data, message):
    path = tmp_path / "voice.wav"
    path.write_bytes(data) if isinstance(data, bytes) else write_voice(path, data)
    with pytest.raises(BadRequest, match=message) as caught:
        asyncio.run(desk.transcribe(path))
    assert caught.value.param == "reference_audio"
    with pytest.raises(BadRequest, match=message):
        takes_of(desk, replace(WISH, reference=path, reference_text=HEARD))


def test_nothing_to_transcribe(desk, tmp_path):
    with pytest.raises(BadRequest, match="no recording to transcribe"):
        asyncio.run(desk.transcribe(None))
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(16000, dtype=np.float32), 16000)
    with pytest.raises(BadRequest, match="No words were recognised"):
        asyncio.run(desk.transcribe(silence))


def test_speech_recognition_that_is_not_there(desk, recording, tmp_path, caplog):
    other = Desk(desk.studio, str(tmp_path / "none"))
    with pytest.raises(ServingError, match="not available here: please write the transcript") as caught:
        asyncio.run(other.transcribe(recording))
    assert "none" not in str(caught.value) and str(tmp_path / "none") in caplog.text
    other.close()


def test_bad_options_are_told_before_anything_is_spoken(desk):
    with pytest.raises(BadRequest, match="`?top_p"):
        takes_of(desk, replace(WISH, top_p=2.0))
    with pytest.raises(BadRequest, match="nothing to say yet"):
        takes_of(desk, replace(WISH, text=""))
    with pytest.raises(ValueError, match="`max_samples` must be at least 1, got 0"):
        Desk(desk.studio, desk.asr, max_samples=0)


@pytest.mark.parametrize("options", [{"live": True}, {"live": False}])
def test_whoever_stops_frees_all_places(desk, monkeypatch, options):
    steps = Steps(monkeypatch)
    steps.hold()

    async def leave():
        speech = desk.speak(replace(WISH, num_samples=3), **options)
        waiting = asyncio.ensure_future(anext(speech))
        await asyncio.to_thread(steps.held.wait, PATIENCE_SECONDS)
        assert desk.studio.num_admitted == 3
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await speech.aclose()

    asyncio.run(leave())
    assert desk.studio.num_admitted == 0
    steps.open.set()
    wait_until(lambda: desk.studio.speaker.num_speaking == desk.studio.speaker.num_waiting == 0)
    assert len(takes_of(desk, WISH)) == 1


def test_no_room(checkpoint, monkeypatch):
    desk = open_desk(checkpoint, max_samples=1, max_batch_size=1)
    steps = Steps(monkeypatch)
    steps.hold()
    first = threading.Thread(target=takes_of, args=(desk, WISH))
    first.start()
    assert steps.held.wait(PATIENCE_SECONDS)
    with pytest.raises(QueueFull, match="try again later"):
        takes_of(desk, WISH)
    steps.open.set()
    first.join(PATIENCE_SECONDS)
    close_desk(desk)
