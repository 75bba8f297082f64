"""Errors of the processor, for single texts and batches."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from voices import voice


WAVE = {"reference_audio": voice(), "sampling_rate": 16000, "reference_text": "Ref", "duration": 1.0}


def bad(id: str, message: str, error=ValueError, **arguments):
    return pytest.param({"text": "Text", "duration": 1.0, **arguments}, error, message, id=id)


def _as_list(text) -> list:
    return text if isinstance(text, list) else [text]


@pytest.mark.parametrize("place", ["alone", "second of two"])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        bad("empty text", "`text` must be a string with something to say, got ''", text=""),
        bad("blank text", r"`text` must be a string with something to say, got ' \\n\\u3000'", text=" \n\u3000"),
        bad("text is None", "`text` must be a string with something to say, got None", text=[None]),
        bad("text is bytes", "`text` must be a string with something to say, got b'x'", text=[b"x"]),
        bad(
            "nothing left",
            "'①②' has nothing to say: it has no characters that Japanese normalisation keeps",
            text="①②",
            language="ja",
        ),
        bad("too many tokens", "`text` must have at most 40 tokens with its reference text, got 41", text="x" * 40),
        bad(
            "too many with reference",
            "`text` must have at most 40 tokens with its reference text, got 41",
            **WAVE | {"text": "x" * 19, "reference_text": "y" * 20},
        ),
        bad("language is no string", "language must be a string, got 5", language=5),
        bad("blank language", "language must be a tag such as", language=" "),
        bad("unreadable file", r"'noise\.wav' cannot be decoded", reference_audio="noise.wav", reference_text="Ref"),
        bad("silent file", r"'silent\.wav' holds no audio", reference_audio="silent.wav", reference_text="Ref"),
        bad(
            "missing file",
            r"no audio file at 'none\.wav'",
            FileNotFoundError,
            reference_audio=Path("none.wav"),
            reference_text="Ref",
        ),
        bad(
            "name that no file can have",
            r"no audio file at 'x+'",
            FileNotFoundError,
            reference_audio="x" * 300,
            reference_text="Ref",
        ),
        bad("codes in a string", r"`reference_audio\['codes'\]` must be a list", reference_audio={"codes": "12"}),
        bad("no codes", r"`reference_audio\['codes'\]` must be a list .* got None", reference_audio={"codes": None}),
        bad("half a character", "text must not have half of a surrogate pair, as at position 1", text="a\ud800"),
        bad("endless number", "`duration` must be a finite number above 0", duration=10**400),
        bad("empty array", "`reference_audio` is empty", **WAVE | {"reference_audio": np.zeros(0, np.float32)}),
        bad("one sample", "must have at least 2 samples, got 1", **WAVE | {"reference_audio": np.zeros(1, np.float32)}),
        bad("NaN", "`reference_audio` has NaN", **WAVE | {"reference_audio": np.array([0.1, np.nan, 0.2])}),
        bad("infinite", "`reference_audio` has NaN or infinite", **WAVE | {"reference_audio": np.array([0.1, np.inf])}),
        bad("integers", "must hold floats .* got int16", **WAVE | {"reference_audio": np.zeros(99, np.int16)}),
        bad("three axes", r"must have shape .* got \(9, 9, 9\)", **WAVE | {"reference_audio": np.zeros((9, 9, 9))}),
        bad("channels first", "more channels than samples", **WAVE | {"reference_audio": np.zeros((9, 99))}),
        bad(
            "no sampling rate",
            "`sampling_rate` in Hz is required with a `reference_audio`",
            **WAVE | {"sampling_rate": None},
        ),
        bad("sampling rate 0", "`sampling_rate` must be above 0 Hz, got 0", **WAVE | {"sampling_rate": 0}),
        bad("sampling rate in words", "`sampling_rate` must be a number of Hz", **WAVE | {"sampling_rate": "16k"}),
        bad("dict without array", r"lacks \['array'\]", **WAVE | {"reference_audio": {"sampling_rate": 16000}}),
        bad("dict without rate", r"lacks \['sampling_rate'\]", **WAVE | {"reference_audio": {"array": voice()}}),
        bad(
            "no audio at all",
            "must be a path, bytes, .* a waveform, or a dict .* got int",
            **WAVE | {"reference_audio": 5},
        ),
        bad("words without audio", "`reference_text` was given without `reference_audio`", reference_text="Ref"),
        bad("audio without words", "`reference_text` is needed .* as `asr`", **WAVE | {"reference_text": None}),
        bad("blank words", "`reference_text` must be a string with .* got ' '", **WAVE | {"reference_text": " "}),
        bad("words are no string", "`reference_text` must be a string .* got 5", **WAVE | {"reference_text": 5}),
        bad("deaf asr", "must be a string with .* got ''", **WAVE | {"reference_text": None, "asr": lambda *_: ""}),
        bad("duration 0", "`duration` must be a finite number above 0, got 0", duration=0),
        bad("negative duration", "`duration` must be a finite number above 0, got -1.5", duration=-1.5),
        bad("duration NaN", "`duration` must be a finite number above 0, got nan", duration=float("nan")),
        bad("infinite duration", "`duration` must be a finite number above 0, got inf", duration=float("inf")),
        bad("duration in words", "`duration` must be a finite number above 0, got '2'", duration="2"),
        bad("duration is True", "`duration` must be a finite number above 0, got True", duration=True),
        bad("too long", "`duration` must be at most 120.0 seconds, got 120.10; split", duration=120.1),
        bad(
            "estimated too long",
            "the estimate for this text at `speed` 0.01 must be at most 120.0 seconds, got 165.00",
            text="x" * 15,
            language="de",
            duration=None,
            speed=0.01,
        ),
        bad("speed 0", "`speed` must be a finite number above 0, got 0", duration=None, speed=0),
        bad("negative speed", "`speed` must be a finite number above 0, got -1", duration=None, speed=-1),
        bad("speed in words", "`speed` must be a finite number above 0, got 'fast'", duration=None, speed="fast"),
        bad("no speed", "`speed` must be a finite number above 0, got None", duration=None, speed=None),
        bad("duration and speed", "with `duration` it must be 1.0, got 1.5", speed=1.5),
    ],
)
def test_bad_input(processor, monkeypatch, tmp_path, arguments, error, message, place):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processor, "max_text_tokens", 40)
    Path("noise.wav").write_bytes(b"RIFF but no more")
    soundfile.write("silent.wav", np.zeros(0, np.float32), 16000)
    if place == "second of two":
        # a good text with nothing else before the bad one
        good = {"text": "Good.", "duration": 1.0, "speed": 1.0}
        arguments = {
            name: value if name == "asr" else [good.get(name), value[0] if name == "text" else value]
            for name, value in (arguments | {"text": _as_list(arguments["text"])}).items()
        }
        message = "text 1: .*" + message
    with pytest.raises(error, match=message):
        processor(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"text": []}, "list of strings that is not empty, got \\[\\]", id="empty list"),
        pytest.param({"text": None}, "`text` must be a string or a list of strings", id="None"),
        pytest.param({"text": 5}, "`text` must be a string or a list of strings .* got 5", id="number"),
        *[
            pytest.param({name: [value] * 3}, f"`{name}` must have one entry per text \\(2\\), got 3", id=name)
            for name, value in {
                "reference_audio": None,
                "reference_text": None,
                "language": "en",
                "duration": 1.0,
                "speed": 1.0,
                "sampling_rate": 16000,
            }.items()
        ],
        pytest.param({"return_tensors": "np"}, "`return_tensors` must be 'pt', got 'np'", id="np"),
        pytest.param({"return_tensors": None}, "`return_tensors` must be 'pt', got None", id="no tensors"),
    ],
)
def test_bad_batch(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(**{"text": ["One.", "Two."], "duration": 1.0, **arguments})


def test_error_of_another_signature_is_still_a_value_error(processor):
    def undecodable(waveform, sampling_rate):
        return b"\xff".decode("utf-8")

    with pytest.raises(ValueError, match="text 0: 'utf-8' codec can't decode"):
        processor(["One.", "Two."], **{**WAVE, "reference_text": None}, asr=undecodable)
