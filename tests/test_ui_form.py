"""The form behind the web page: estimates, transcripts, samples, long texts, and sound while it is spoken."""

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from pages import HEARD, close_form, open_form
from serving import PATIENCE_SECONDS, Steps, wait_until
from voices import CUTOFF_FRAMES, write_voice

from t5gemma_tts.model.duration import estimate_duration
from t5gemma_tts.serving.errors import BadRequest, QueueFull, ServingError
from t5gemma_tts.serving.limits import Limits
from t5gemma_tts.serving.synthesis import SynthesisRequest
from t5gemma_tts.ui.form import SpeechForm
from t5gemma_tts.ui.options import SpeechOptions


WISH = SpeechOptions("Hello there.", language="de", duration_seconds=0.6, seed=3)
SAMPLES = 320 * (30 + CUTOFF_FRAMES)  # of the speech_options
LONG = "The first sentence is here, and it says rather little. " * 6


@pytest.fixture(scope="module")
def form(checkpoint):
    form = open_form(checkpoint, limits=Limits(max_characters=1000, max_reference_seconds=2))
    yield form
    close_form(form)


@pytest.fixture
def recording(tmp_path):
    return write_voice(tmp_path / "voice.wav", 16000)


def all_progress(form, speech_options, live=False) -> list:
    async def gather():
        return [progress async for progress in form.speak(speech_options, live)]

    return asyncio.run(gather())


def samples_of(form, speech_options) -> tuple:
    return all_progress(form, speech_options)[-1].samples


def test_samples_equal_the_services(form):
    progress = all_progress(form, replace(WISH, num_samples=3))
    assert [len(one.samples) for one in progress] == [1, 2, 3] and all(one.chunk is None for one in progress)
    takes = progress[-1].samples
    assert [take.seed for take in takes] == [3, 4, 5]
    for take in takes:
        job = SynthesisRequest(WISH.text, "de", 0.6, seed=take.seed)
        np.testing.assert_allclose(take.waveform, asyncio.run(form.synthesis.speak(job)).waveform, atol=1e-5)
        assert len(take.waveform) == SAMPLES and take.seconds == SAMPLES / 16000
    assert not np.allclose(takes[0].waveform, takes[1].waveform)
    assert form.synthesis.num_admitted == 0


def test_random_seeds_differ(form):
    seeds = {samples_of(form, replace(WISH, seed=None))[0].seed for _ in range(3)}
    assert len(seeds) == 3


def test_live_audio_is_the_first_sample(form):
    progress = all_progress(form, replace(WISH, duration_seconds=2.0, num_samples=2), live=True)
    pieces = [one.chunk for one in progress if one.chunk is not None]
    assert len(pieces) > 2 and [len(one.samples) for one in progress[len(pieces) :]] == [1, 2]
    np.testing.assert_array_equal(np.concatenate(pieces), progress[-1].samples[0].waveform)


def test_in_windows(checkpoint, form, monkeypatch):
    sparing = SpeechForm(form.synthesis, form.asr, form.limits, in_windows=True)
    decoded = []
    decode = form.synthesis.processor.codec.decode
    monkeypatch.setattr(
        form.synthesis.processor.codec, "decode", lambda codes: decoded.append(len(codes)) or decode(codes)
    )
    (take,) = samples_of(sparing, replace(WISH, duration_seconds=8.0))
    sparing.close()
    assert len(take.waveform) == 320 * (400 + CUTOFF_FRAMES)
    assert max(decoded) < 320  # frames: 5 s and what is around them


def test_speed_and_length(form):
    estimate = estimate_duration("Hello there.", language="de")
    slow, fast = (
        samples_of(form, replace(WISH, duration_seconds=None, speed=speed))[0].seconds - CUTOFF_FRAMES / 50
        for speed in (0.5, 2.0)
    )
    assert slow == pytest.approx(2 * estimate, abs=0.02) and fast == pytest.approx(max(estimate / 2, 0.02), abs=0.02)
    assert samples_of(form, replace(WISH, speed=2.0))[0].seconds == SAMPLES / 16000  # a chosen length is not divided


def test_a_voice(form, recording):
    cloned = replace(WISH, reference=recording, reference_text=f" {HEARD} ")
    (take,) = samples_of(form, cloned)
    (own,) = samples_of(form, WISH)
    assert len(take.waveform) == SAMPLES and not np.allclose(take.waveform, own.waveform)
    np.testing.assert_array_equal(samples_of(form, cloned)[0].waveform, take.waveform)


def test_estimates(form, recording):
    def estimate(**changes):
        return asyncio.run(form.estimate(replace(WISH, duration_seconds=None, **changes)))

    assert estimate(text=" ") is None
    own = estimate()
    assert own == estimate_duration("Hello there.", language="de")
    assert estimate(speed=2.0) == pytest.approx(own / 2)
    known = {"reference_text": HEARD, "reference_duration_seconds": 1.0}
    expected = estimate_duration("Hello there.", language="de", **known)
    assert estimate(reference=recording, reference_text=HEARD) == pytest.approx(expected)
    assert estimate(reference=recording) == own  # until it is known what is said
    with pytest.raises(BadRequest, match="1,001 characters; at most 1,000 are allowed"):
        estimate(text="a" * 1001)


def test_estimate_of_a_long_text(form):
    speech_options = replace(WISH, text=LONG, duration_seconds=None, in_pieces=True, speed=4.0)
    (take,) = samples_of(form, speech_options)
    estimate = asyncio.run(form.estimate(speech_options))
    assert estimate == pytest.approx(take.seconds, rel=0.25)  # each piece ends a little late, and edges are cut


def test_long_texts_come_in_pieces(form):
    speech_options = replace(WISH, text=LONG, duration_seconds=None, in_pieces=True, speed=4.0)
    progress = all_progress(form, speech_options, live=True)
    pieces = [one.chunk for one in progress[:-1]]
    assert len(pieces) > 1
    np.testing.assert_array_equal(np.concatenate(pieces), progress[-1].samples[0].waveform)
    np.testing.assert_allclose(
        samples_of(form, speech_options)[0].waveform, progress[-1].samples[0].waveform, atol=1e-5
    )
    assert form.synthesis.num_admitted == 0


def test_transcripts(form, recording):
    assert asyncio.run(form.transcribe(recording)) == HEARD


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no sound", "The recording cannot be used: .* cannot be decoded"),
        (48000, "must take 0.5 to 2 seconds"),
        (800, "must take 0.5 to 2 seconds"),
    ],
)
def test_recordings_that_cannot_be_used(form, tmp_path, data, message):
    path = tmp_path / "voice.wav"
    path.write_bytes(data) if isinstance(data, bytes) else write_voice(path, data)
    with pytest.raises(BadRequest, match=message) as caught:
        asyncio.run(form.transcribe(path))
    assert caught.value.param == "reference_audio"
    with pytest.raises(BadRequest, match=message):
        samples_of(form, replace(WISH, reference=path, reference_text=HEARD))


def test_nothing_to_transcribe(form, tmp_path):
    with pytest.raises(BadRequest, match="no recording to transcribe"):
        asyncio.run(form.transcribe(None))
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(16000, dtype=np.float32), 16000)
    with pytest.raises(BadRequest, match="No words were recognized"):
        asyncio.run(form.transcribe(silence))


def test_missing_speech_recognition(form, recording, tmp_path, caplog):
    other = SpeechForm(form.synthesis, str(tmp_path / "none"))
    with pytest.raises(ServingError, match="not available. Please write the transcript") as caught:
        asyncio.run(other.transcribe(recording))
    assert "none" not in str(caught.value) and str(tmp_path / "none") in caplog.text
    other.close()


def test_invalid_options_are_refused_before_speaking(form):
    with pytest.raises(BadRequest, match="`?top_p"):
        samples_of(form, replace(WISH, top_p=2.0))
    with pytest.raises(BadRequest, match="text is empty"):
        samples_of(form, replace(WISH, text=""))
    with pytest.raises(ValueError, match="`max_samples` must be at least 1, got 0"):
        SpeechForm(form.synthesis, form.asr, max_samples=0)


@pytest.mark.parametrize("options", [{"live": True}, {"live": False}])
def test_stopping_frees_all_slots(form, monkeypatch, options):
    steps = Steps(monkeypatch)
    steps.hold()

    async def leave():
        speech = form.speak(replace(WISH, num_samples=3), **options)
        waiting = asyncio.ensure_future(anext(speech))
        await asyncio.to_thread(steps.held.wait, PATIENCE_SECONDS)
        assert form.synthesis.num_admitted == 3
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await speech.aclose()

    asyncio.run(leave())
    assert form.synthesis.num_admitted == 0
    steps.open.set()
    wait_until(lambda: form.synthesis.worker.num_running == form.synthesis.worker.num_waiting == 0)
    assert len(samples_of(form, WISH)) == 1


def test_full_queue(checkpoint, monkeypatch):
    form = open_form(checkpoint, max_samples=1, max_batch_size=1)
    steps = Steps(monkeypatch)
    steps.hold()
    first = threading.Thread(target=samples_of, args=(form, WISH))
    first.start()
    assert steps.held.wait(PATIENCE_SECONDS)
    with pytest.raises(QueueFull, match="try again later"):
        samples_of(form, WISH)
    steps.open.set()
    first.join(PATIENCE_SECONDS)
    close_form(form)
