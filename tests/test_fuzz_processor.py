"""Fuzz test of the processor: an error that names the argument, or valid model inputs."""

import io
import re

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import PHRASES, cases, damaged, json_values, numbers, texts


LANGUAGES = ("en", "ja", "zh", "en-US", "JA", "yue", "de", "xx-1", "")
ARGUMENTS = "text|reference_audio|reference_text|language|duration|speed|sampling_rate|asr"
NAMES_AN_ARGUMENT = re.compile(
    rf"`({ARGUMENTS})\b|\b(language|text)\b must|no audio file at|cannot be decoded|holds no audio"
)
RATE = 16000


def wav_file() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform(800), RATE, format="WAV")
    return file.getvalue()


def waveform(num_samples: int) -> np.ndarray:
    return (0.3 * np.sin(np.arange(num_samples) / 7)).astype(np.float32)


@st.composite
def arrays(draw):
    """Short arrays, most of them valid waveforms."""
    shape = draw(st.sampled_from([(0,), (1,), (2,), (700,), (700, 2), (2, 700), (3, 3, 3), (0, 2), (700, 0), ()]))
    dtype = draw(st.sampled_from(["f4", "f8", "f2", "i2", "c8", "U1", "O", "?"]))
    array = np.resize(waveform(1400), shape) if np.prod(shape) else np.zeros(shape)
    with np.errstate(all="ignore"):
        array = array.astype(dtype)
    if array.size and array.dtype.kind == "f":
        array[draw(st.integers(0, len(array) - 1)) if array.ndim else ()] = draw(st.floats(width=16) | st.just(0.5))
    kind = draw(st.sampled_from(["array", "array", "tensor", "bfloat16", "list"]))
    if kind == "list":
        return array.tolist()
    if kind == "array" or array.dtype.kind in "UO":
        return array
    tensor = torch.from_numpy(np.array(array))
    return tensor.bfloat16() if kind == "bfloat16" and array.dtype.kind == "f" else tensor


@st.composite
def references(draw, folder):
    kind = draw(st.sampled_from(["array", "array", "dict", "codes", "codes", "file", "path", "junk"]))
    if kind == "array":
        return draw(arrays())
    if kind == "dict":
        return draw(
            st.fixed_dictionaries(
                {}, optional={"array": arrays() | st.none(), "sampling_rate": numbers() | st.just(RATE)}
            )
        )
    if kind == "codes":
        good = st.lists(st.integers(0, 255), max_size=9)
        return {"codes": draw(good | good | st.lists(numbers(), max_size=4) | json_values())}
    if kind == "file":
        path = folder / "reference.wav"
        path.write_bytes(draw(st.just(wav_file()) | damaged(wav_file())))
        return path
    if kind == "path":
        return draw(st.text(st.characters(), max_size=8) | st.sampled_from(["", ".", "\0", "x" * 300, "/dev/null"]))
    return draw(json_values() | st.binary(max_size=5))


def one_or_several(draw, values, count: int, is_list: bool):
    """One value for all texts, or a list with one value per text, rarely one too few."""
    if is_list and draw(st.booleans()):
        return draw(st.lists(values, min_size=max(count - draw(st.sampled_from([0] * 9 + [1])), 0), max_size=count))
    return draw(values)


@st.composite
def calls(draw, folder):
    """Arguments of the processor, most of them valid."""
    several = draw(st.booleans())
    count = draw(st.integers(1, 3)) if several else 1
    one_text = st.sampled_from(PHRASES) | texts() | texts()
    junk = st.none() | st.integers() | st.binary(max_size=3)
    call = {"text": draw(st.lists(one_text, min_size=count, max_size=count)) if several else draw(one_text)}
    if draw(st.integers(0, 15)) == 0:
        call["text"] = draw(junk | st.lists(junk, max_size=2) | st.just({"a": "b"}))
    optional = {
        "language": st.none() | st.sampled_from(LANGUAGES) | texts(6) | numbers(),
        "duration": st.none() | st.floats(0.1, 5) | numbers(),
        "speed": st.just(1.0) | st.floats(0.5, 2) | numbers(),
        "sampling_rate": st.just(RATE) | st.just(8000) | numbers() | st.none(),
        "reference_audio": st.none() | references(folder) | references(folder),
        "reference_text": st.sampled_from(PHRASES) | texts() | st.none() | numbers(),
    }
    for name, values in optional.items():
        if draw(st.booleans()):
            call[name] = one_or_several(draw, values, count, several)
    if "reference_audio" in call and draw(st.booleans()):  # a good one needs both
        call |= {"reference_text": PHRASES[0], "sampling_rate": RATE}
    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("references")


def check_inputs(processor, inputs, count: int) -> None:
    """Checks shapes, padding and ranges of the model inputs."""
    size = processor.codebook_size
    for ids, mask, vocabulary, padded in (
        ("input_ids", "attention_mask", len(processor.tokenizer), "right"),
        ("decoder_input_ids", "decoder_attention_mask", size + 5, "left"),
    ):
        ids, mask = inputs[ids], inputs[mask]
        assert ids.dtype == mask.dtype == torch.int64 and ids.shape == mask.shape and len(ids) == count
        assert ids.min() >= 0 and ids.max() < vocabulary
        steps = mask.diff(dim=1)
        assert mask.max(dim=1).values.eq(1).all() and (steps <= 0 if padded == "right" else steps >= 0).all()
    real = inputs["decoder_attention_mask"].bool()
    for row, own in zip(inputs["decoder_input_ids"], real, strict=True):
        prompt = row[own].tolist()
        assert prompt[0] == size and (row[~own] == size + 2).all()
        assert len(prompt) == 1 or (prompt[-1] == size + 4 and max(prompt[1:-1]) < size)
    frames = inputs["num_frames"]
    assert frames.dtype == torch.int64 and frames.shape == (count,)
    assert frames.min() >= 1 and frames.max() <= processor.max_duration_seconds * processor.frame_rate


@cases(40)
@given(data=st.data())
def test_calls(processor, folder, data):
    call = data.draw(calls(folder))
    try:
        inputs = processor(**call)
    except (ValueError, FileNotFoundError) as error:
        assert NAMES_AN_ARGUMENT.search(str(error)), f"no argument is named in: {error}"
        return
    check_inputs(processor, inputs, len(call["text"]) if isinstance(call["text"], list) else 1)


@cases(40)
@given(text=texts(200))
def test_text_is_tokenized_without_loss(processor, text):
    try:
        ids = processor(text, language="en", duration=1.0)["input_ids"][0].tolist()
    except ValueError as error:
        assert NAMES_AN_ARGUMENT.search(str(error))
        return
    assert ids[-1] == processor.text_eos_token_id
    assert processor.tokenizer.decode(ids[:-1], clean_up_tokenization_spaces=False) == text


@cases(25)
@given(data=st.data())
def test_sequences_of_any_tokens_are_decoded(processor, data):
    token = st.integers(0, 255) | st.integers(0, 261)
    sequences = data.draw(st.lists(st.lists(token, max_size=9), max_size=3))
    waveforms = processor.batch_decode(sequences)
    assert len(waveforms) == len(sequences)
    for sequence, sound in zip(sequences, waveforms, strict=True):
        num_codes = sum(entry < 256 for entry in sequence)
        assert sound.dtype == np.float32 and sound.shape == (num_codes * 320,) and np.isfinite(sound).all()


@cases(40)
@given(codes=st.lists(st.integers(0, 255), max_size=5) | json_values() | st.lists(numbers(), max_size=3) | arrays())
def test_codec_accepts_codes_or_raises(processor, codes):
    try:
        sound = processor.codec.decode(codes)
    except ValueError as error:
        assert "`codes`" in str(error)
        return
    assert sound.shape == (len(codes) * 320,) and np.isfinite(sound).all()
