"""Streaming: each sample once, and close to decoding the whole clip, for any chunk sizes."""

import numpy as np
import pytest
import torch

from t5gemma_tts import StreamWindows
from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.loading import load_codec, load_model, load_processor
from t5gemma_tts.model.streaming import StreamDecoder, decode_stream


class Ramp:
    """A codec without context: code `c` becomes `hop` samples of value `c`, which identify the decoded codes."""

    codebook_size, frame_rate, sampling_rate = 1000, 50.0, 44100

    def __init__(self):
        self.calls = []

    def decode(self, codes):
        self.calls.append(len(codes))
        edges = np.round(np.arange(len(codes) + 1) * self.sampling_rate / self.frame_rate).astype(int)
        return np.repeat(np.asarray(codes, dtype=np.float32), np.diff(edges))


CUTS = [StreamWindows(), StreamWindows(5, 20, 1.5, 3, 2, 1.0), StreamWindows(1, 1, 1, 0, 0, 0)]


@pytest.mark.parametrize("length", [1, 7, 16, 24, 25, 100, 613])
@pytest.mark.parametrize("pushed", [1, 10, 1000])
@pytest.mark.parametrize(
    "windows", [StreamWindows(), StreamWindows(5, 20, 1.5, 3, 2, 1.0), StreamWindows(1, 1, 1, 0, 0, 0)]
)
def test_every_sample_is_returned_once(length, pushed, windows):
    codes = list(range(length))
    codec = Ramp()
    decoder = StreamDecoder(codec, windows)
    pieces = [decoder.push(codes[start : start + pushed]) for start in range(0, length, pushed)] + [decoder.finish()]
    np.testing.assert_allclose(np.concatenate(pieces), Ramp().decode(codes), atol=1e-4)
    assert max(codec.calls) <= windows.left_context + windows.max_frames + windows.right_context + 1
    assert not len(decoder.finish())


def test_windows_grow_and_wait_for_their_context():
    decoder = StreamDecoder(Ramp(), StreamWindows(10, 40, 2.0, 5, 4, 0.5))
    frames = [len(decoder.push([0])) // 882 for _ in range(200)]
    assert [(place + 1, size) for place, size in enumerate(frames) if size] == [
        (14, 10),
        (34, 20),
        (74, 40),
        (114, 40),
        (154, 40),
        (194, 40),
    ]


@pytest.fixture(scope="module")
def nano_codec():
    return load_codec(NANO, "cpu")


@pytest.fixture(scope="module")
def spoken_codes(nano_codec):
    from pathlib import Path

    import soundfile

    path = max(Path(NANO, "audio").glob("*.wav"), key=lambda path: soundfile.info(path).frames)
    return nano_codec.encode(*soundfile.read(path, dtype="float32")).tolist()


def test_stream_is_close_to_decoding_the_whole_clip(nano_codec, spoken_codes):
    from benchmarks.streaming import distance, seam

    whole = nano_codec.decode(spoken_codes)
    decoder = StreamDecoder(nano_codec)
    pieces = [decoder.push([code]) for code in spoken_codes] + [decoder.finish()]
    sound = np.concatenate(pieces)
    assert len(sound) == len(whole)
    assert distance(sound, whole) < 4.0
    joins = np.cumsum([len(piece) for piece in pieces if len(piece)])[:-1].tolist()
    assert len(joins) > 2 and max(seam(sound, whole, joins)) < 3.0
    other = nano_codec.decode(spoken_codes[::-1])
    assert distance(other, whole) > 10.0


def test_clips_are_decoded_in_windows_on_demand(nano_codec, spoken_codes):
    from benchmarks.streaming import distance

    processor = load_processor(NANO, codec_device="cpu")
    processor.codec = nano_codec
    (whole,) = processor.batch_decode([spoken_codes])
    near, empty = processor.batch_decode([spoken_codes, []], windows=StreamWindows(first_frames=100, max_frames=100))
    assert len(near) == len(whole) and not len(empty) and not np.array_equal(near, whole)
    assert distance(near, whole) < 4.0


def test_batches_of_streams():
    rows = [[5, 6, 7, 1003, 9], [8, 1003, 1002, 1002, 1002], [1003, 1002, 1002, 1002, 1002], [3, 4, 1000, 5, 6]]
    sounds = [[] for _ in rows]
    for piece in decode_stream(Ramp(), torch.tensor(rows).T, 1003, StreamWindows(2, 2, 1, 1, 1, 0.5)):
        for row, sound in zip(sounds, piece, strict=True):
            row.append(sound)
    for row, codes in zip(sounds, ([5, 6, 7], [8], [], [3, 4, 5, 6]), strict=True):
        np.testing.assert_allclose(np.concatenate(row), Ramp().decode(codes), atol=1e-4)


@pytest.mark.parametrize("texts", ["Hello there, my dear old friend.", ["Hello there.", "This is another one."]])
def test_model_and_processor_together(texts):
    model, processor = load_model(NANO, "cpu", "float32"), load_processor(NANO, codec_device="cpu")
    inputs = processor(text=texts, language="en")
    tokens = []

    def recorded():
        for step in model.stream(**inputs, seed=1):
            tokens.append(step)
            yield step

    pieces, first_after = [], None
    for piece in processor.stream_decode(recorded()):
        first_after = first_after or len(tokens)
        pieces.append(piece)
    assert first_after <= 25 < len(tokens)
    whole = processor.batch_decode(torch.stack(tokens, dim=1))
    if isinstance(texts, str):
        pieces = [[piece] for piece in pieces]
    for row, expected in zip(zip(*pieces, strict=True), whole, strict=True):
        assert len(np.concatenate(row)) == len(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_frames": 0}, "`first_frames` must be at least 1"),
        ({"first_frames": 20, "max_frames": 10}, "at most `max_frames`, got 20 and 10"),
        ({"growth": 0.5}, "`growth` must be at least 1, got 0.5"),
        ({"left_context": -1}, "`left_context` must not be negative, got -1"),
        ({"fade_frames": 9}, "`fade_frames` must not be above"),
    ],
)
def test_invalid_windows(options, message):
    with pytest.raises(ValueError, match=message):
        StreamWindows(**options)
