"""Pictures of speech: what they show is what is there."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from t5gemma_tts.ui.plots import MAX_COLUMNS, RANGE_DECIBELS, envelope, plot_html, plot_png, spectrogram


RATE = 16000


def tone(frequency: float, seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.mark.parametrize("frequency", [400, 3000, 7000])
def test_frequency_of_a_tone(frequency):
    levels = spectrogram(tone(frequency), RATE)
    assert levels.dtype == np.float32 and levels.max() == pytest.approx(0, abs=0.1)
    loudest = levels[:, 10:-10].argmax(0) * (RATE / 2) / (len(levels) - 1)
    np.testing.assert_allclose(loudest, frequency, atol=40)
    assert levels.min() == pytest.approx(-RANGE_DECIBELS)


def test_time_of_a_tone():
    levels = spectrogram(np.concatenate([np.zeros(RATE // 2, dtype=np.float32), tone(1000, 0.5)]), RATE)
    heard = levels.max(0) > -20
    assert not heard[:45].any() and heard[55:-2].all()


@pytest.mark.parametrize("seconds", [0.01, 1.0, 100.0])
def test_size_of_the_plot(seconds):
    sound = tone(300, seconds)
    assert spectrogram(sound, RATE).shape[1] <= 1600
    low, high = envelope(sound)
    assert len(low) == len(high) == min(len(sound), MAX_COLUMNS)
    assert low.min() == sound.min() and high.max() == sound.max()


@pytest.mark.parametrize("sound", [tone(500), np.zeros(8000, dtype=np.float32), np.zeros(1, dtype=np.float32)])
def test_plot_pnging(sound):
    image = Image.open(io.BytesIO(plot_png(sound, RATE)))
    assert image.format == "PNG" and image.width > 2 * image.height
    colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert len(colours) > 2


def test_louder_is_brighter():
    def brightness(sound):
        return np.asarray(Image.open(io.BytesIO(plot_png(sound, RATE))).convert("L"))[-150:].mean()

    noise = np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    assert brightness(noise) > brightness(tone(500)) + 20


def test_alternative_text():
    element = plot_html(tone(500, 1.5), RATE, 'A "name" & <more>')
    assert 'alt="A &quot;name&quot; &amp; &lt;more&gt;: waveform and spectrogram of 1.5 seconds' in element
    data = re.search(r"data:image/png;base64,([^\"]+)", element)[1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).format == "PNG"
