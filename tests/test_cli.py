"""`t5gemma-tts speak` gives the same output as processor and model in Python."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_checkpoint import tiny_codec
from voices import CUTOFF_FRAMES, write_voice

from t5gemma_tts import (
    T5GemmaTTSCodecConfig,
    T5GemmaTTSCodecModel,
    T5GemmaTTSForConditionalGeneration,
    XCodec2,
    loading,
)
from t5gemma_tts.cli import speak
from t5gemma_tts.model.quantization import Int8Linear


GREEDY = ("--temperature", 0)


@pytest.fixture(scope="module")
def model(checkpoint) -> T5GemmaTTSForConditionalGeneration:
    return T5GemmaTTSForConditionalGeneration.from_pretrained(checkpoint)


@pytest.fixture
def speak_with(run, checkpoint, processor, monkeypatch):
    """
    Speaks with the checkpoint into `out.wav`, greedily; returns the tokens of each waveform.

    The checkpoint's codec is loaded once for all tests: that takes longer than speaking.
    """
    load_codec = XCodec2.from_pretrained

    def load_other_codec(name, **kwargs):
        return processor.codec if name == str(checkpoint) else load_codec(name, **kwargs)

    monkeypatch.setattr(XCodec2, "from_pretrained", load_other_codec)

    def run_speak(*arguments, sampling=GREEDY, **kwargs) -> list[list[int]]:
        common = ["--model", checkpoint, "-o", "out.wav", "--tokens", "out.txt", *sampling]
        code, _, err = run("speak", *common, *arguments, **kwargs)
        assert (code, err) == (0, "")
        return [[int(token) for token in line.split()] for line in Path("out.txt").read_text().splitlines()]

    return run_speak


@pytest.fixture
def loaded(monkeypatch) -> dict:
    """
    What `speak` has loaded, "processor" and "model", the arguments of its "calls" for requests, and how many of them
    were spoken at a time in each of its "steps".
    """
    found = {"calls": [], "steps": []}
    load_model, load_processor, speech_requests = loading.load_model, loading.load_processor, speak.speech_requests

    def recording_load_model(*args, **kwargs):
        found["model"] = load_model(*args, **kwargs)
        return found["model"]

    def recording_load_processor(*args, **kwargs):
        found["processor"] = load_processor(*args, **kwargs)
        return found["processor"]

    def recording_speech_requests(model, **inputs):
        found["calls"].append(inputs)
        return speech_requests(model, **inputs)

    class RecordingEngine(speak.SpeechEngine):
        def step(self):
            served = super().step()
            found["steps"].append(len(served))
            return served

    monkeypatch.setattr(loading, "load_model", recording_load_model)
    monkeypatch.setattr(loading, "load_processor", recording_load_processor)
    monkeypatch.setattr(speak, "speech_requests", recording_speech_requests)
    monkeypatch.setattr(speak, "SpeechEngine", RecordingEngine)
    return found


def python_tokens(processor, model, **inputs) -> list[list[int]]:
    sequences = model.generate(**processor(**inputs), do_sample=False)
    return [processor.speech_codes(sequence) for sequence in sequences]


def test_speak_a_text(run, checkpoint, processor, model):
    options = ("--model", checkpoint, "--duration", 0.6, *GREEDY)
    code, out, err = run("speak", "Hello there.", "-o", "out.wav", "--tokens", "out.txt", *options)
    assert (code, out, err) == (0, "out.wav  0.80 s\n", "")
    (expected,) = python_tokens(processor, model, text="Hello there.", duration=0.6)
    assert len(expected) == 30 + CUTOFF_FRAMES and len(set(expected)) > 3
    assert Path("out.txt").read_text() == " ".join(map(str, expected)) + "\n"
    written, sampling_rate = soundfile.read("out.wav")
    assert sampling_rate == 16000
    np.testing.assert_allclose(written, processor.codec.decode(expected).clip(-1, 1), rtol=0, atol=2**-14)
    assert sorted(path.name for path in Path().iterdir()) == ["out.txt", "out.wav"]


@pytest.mark.parametrize("source", ["argument", "file"])
def test_lines_are_spoken_in_batches(speak_with, processor, model, loaded, source):
    text, lines = (
        "Hello there.\n\n  こんにちは。 \r\n\tThe third one\n",
        ["Hello there.", "こんにちは。", "The third one"],
    )
    Path("lines.txt").write_text(text, encoding="utf-8")
    arguments = [text] if source == "argument" else ["--text-file", "lines.txt"]
    tokens = speak_with(*arguments, "--batch-size", 2, "--duration", 0.4)
    assert [len(call["input_ids"]) for call in loaded["calls"]] == [3]
    assert max(loaded["steps"]) == 2 and sum(loaded["steps"]) == sum(map(len, tokens)) + 3  # and the ends
    expected = python_tokens(processor, model, text=lines, duration=0.4)
    assert tokens == expected and len({tuple(clip) for clip in tokens}) == 3
    assert sorted(path.name for path in Path().glob("*.wav")) == ["out-1.wav", "out-2.wav", "out-3.wav"]
    for number, clip in enumerate(expected, start=1):
        written, _ = soundfile.read(f"out-{number}.wav")
        np.testing.assert_allclose(written, processor.codec.decode(clip).clip(-1, 1), rtol=0, atol=2**-14)


@pytest.mark.parametrize("arguments", [[], ["-"]], ids=["nothing", "dash"])
def test_standard_input(speak_with, processor, model, arguments):
    tokens = speak_with(*arguments, "--duration", 0.3, stdin="\nHello there.\nZwei\n")
    assert tokens == python_tokens(processor, model, text=["Hello there.", "Zwei"], duration=0.3)


def test_several_samples_of_several_lines(speak_with):
    greedy = speak_with("One.\nAnother", "--num-samples", 2, "--duration", 0.4, "--batch-size", 1)
    assert greedy[0] == greedy[1] != greedy[2] == greedy[3]
    assert sorted(path.name for path in Path().glob("*.wav")) == [f"out-{number}.wav" for number in (1, 2, 3, 4)]
    sampled = speak_with("One.", "--num-samples", 2, "--duration", 0.4, "--overwrite", sampling=("--temperature", 3))
    assert sampled[0] != sampled[1]


def test_seed(speak_with):
    def tokens(seed, text="One.", *arguments):
        options = ("--duration", 0.4, "--overwrite", *arguments)
        return speak_with(text, *options, sampling=("--seed", seed, "--temperature", 2))

    (first,) = tokens(7)
    assert tokens(7) == [first] != tokens(8)
    assert tokens(7, "Another\nOne.\nAnd so on")[1] == first
    assert tokens(6, "One.", "--num-samples", 2)[1] == first


def test_sampling_options(speak_with, loaded):
    names = ("do_sample", "temperature", "top_k", "top_p", "min_p")
    wanted = {"top_k": 5, "top_p": 0.5, "min_p": 0.1, "temperature": 0.7}
    given = [str(item) for name, value in wanted.items() for item in (f"--{name.replace('_', '-')}", value)]
    speak_with("One.", "--duration", 0.4, sampling=given)
    (call,) = loaded["calls"]
    assert {name: call.get(name) for name in names} == wanted | {"do_sample": True}
    speak_with("One.", "--duration", 0.4, "--overwrite", sampling=())
    assert not set(loaded["calls"][1]) & set(names)  # the model's generation config decides


def test_quantization(speak_with, loaded):
    speak_with("One.", "--duration", 0.4, "--quantization", "int8")
    assert type(loaded["model"].audio_head.out_proj) is Int8Linear


def test_stream_has_the_rate_of_the_codec_where_the_processor_knows_none(run, checkpoint):
    folder = shutil.copytree(checkpoint, "unknown-rate")  # as the original project's checkpoints are read
    path = Path(folder, "processor_config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sampling_rate": None}))
    common = ("--model", folder, "--duration", 0.9, "--seed", 3)
    for way in ((), ("--stream",), ("--long",)):
        speech = common if way != ("--long",) else ("--model", folder, "--seed", 3)
        code, _, err = run("speak", "One.", "-o", "sound.wav", "--overwrite", *speech, *way)
        assert (code, err) == (0, "")
        assert soundfile.info("sound.wav").samplerate == 16000


def test_stream_writes_what_speaking_at_once_does(speak_with, run, checkpoint, monkeypatch):
    (tokens,) = speak_with("One.", "--duration", 0.9, sampling=("--seed", 3))
    common = ("--model", checkpoint, "--duration", 0.9, "--seed", 3, "--stream")
    code, out, err = run("speak", "One.", "-o", "stream.wav", *common)
    samples = 320 * len(tokens)
    assert (code, out, err) == (0, f"stream.wav  {samples / 16000:.2f} s\n", "")
    written, sampling_rate = soundfile.read("stream.wav")
    assert sampling_rate == 16000 and len(written) == samples
    standard_output = io.TextIOWrapper(io.BytesIO(), write_through=True)
    monkeypatch.setattr("sys.stdout", standard_output)
    code, _, err = run("speak", "One.", "-o", "-", *common)
    raw = np.frombuffer(standard_output.buffer.getvalue(), "<i2")
    assert (code, err) == (0, "raw samples: 16 bits, signed, little-endian, mono, 16000 Hz\n")
    np.testing.assert_allclose(raw / 32768, written, rtol=0, atol=2**-13)


def test_long_text_becomes_one_file(speak_with, run, checkpoint):
    code, out, err = run(
        "speak", "One, two. Three.\nFour and five", "-o", "long.wav", "--model", checkpoint, "--long", "--seed", 1
    )
    assert (code, err) == (0, "")
    seconds = soundfile.info("long.wav").duration
    assert out == f"long.wav  {seconds:.2f} s\n" and seconds > 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("One.", "-o", "-"), "`--output -` streams audio; it needs --stream or --long"),
        (("One.", "-o", "x.wav", "--stream", "--long"), "either --stream or --long"),
        (("One.\nTwo.", "-o", "x.wav", "--stream"), "--stream speaks one line, got 2"),
        (("One.", "-o", "x.wav", "--long", "--duration", 3), "--duration cannot be used with --long"),
        (("One.", "-o", "x.wav", "--stream", "--num-samples", 2), "--num-samples and --tokens cannot be used"),
        (("One.", "-o", "x.wav", "--quantization", "int2"), "`quantization` must be one of int8, torchao-int8"),
    ],
)
def test_inconsistent_options(run, checkpoint, arguments, message):
    code, out, err = run("speak", *arguments, "--model", checkpoint)
    assert code == 1 and message in err and not list(Path().iterdir())


def test_reference(speak_with, processor, model, tmp_path):
    path = write_voice(tmp_path / "voice.wav", 22050, 44100)
    inputs = {"text": ["One.", "Another"], "duration": 0.5}
    with_reference = {"reference_audio": path, "reference_text": "これは声です。"}
    arguments = ("One.\nAnother", "--duration", 0.5)
    tokens = speak_with(*arguments, "--reference", path, "--reference-text", "これは声です。")
    assert tokens == python_tokens(processor, model, **inputs, **with_reference)
    assert tokens != python_tokens(processor, model, **inputs)


def test_length_of_the_speech(speak_with):
    def frames(*arguments):
        (clip,) = speak_with(*arguments, "--overwrite")
        assert soundfile.info("out.wav").frames == 320 * len(clip)
        return len(clip) - CUTOFF_FRAMES

    assert frames("abcdefghij", "--duration", 0.3) == 15
    assert frames("abcdefghij", "--duration", 0.9) == 45
    assert frames("abcdefghij", "--language", "de") == 55  # 0.11 s per character
    assert frames("abcdefghij", "--language", "de", "--speed", 2.5) == 22


def test_language(speak_with, processor, model):
    tokens = speak_with("ﾃｽﾄ です", "--language", "en", "--duration", 0.4)
    assert tokens == python_tokens(processor, model, text="ﾃｽﾄ です", language="en", duration=0.4)
    assert tokens != python_tokens(processor, model, text="ﾃｽﾄ です", language="ja", duration=0.4)


def test_dtype(speak_with, loaded):
    assert len(speak_with("One.", "--duration", 0.4, "--dtype", "bfloat16")[0]) == 20 + CUTOFF_FRAMES
    assert loaded["model"].dtype == torch.bfloat16
    assert loaded["processor"].codec.dtype == torch.float32
    speak_with("One.", "--duration", 0.4, "--overwrite")
    assert loaded["model"].dtype == torch.float32  # as stored


def test_low_vram(speak_with, loaded):
    assert len(speak_with("One.\nAnother", "--duration", 0.4, "--low-vram")) == 2
    assert loaded["model"].dtype == torch.bfloat16
    assert set(loaded["steps"]) == {1}
    assert loaded["processor"].codec_device == torch.device("cpu")


@pytest.mark.parametrize(
    ("options", "codec_device"), [([], "meta"), (["--low-vram"], "cpu"), (["--low-vram", "--codec-device", "x"], "x")]
)
def test_device_of_the_codec(run, checkpoint, monkeypatch, options, codec_device):
    asked = []

    def load_nothing(name, codec, codec_device):
        asked.append(str(codec_device))
        raise ValueError("that is all")

    monkeypatch.setattr(loading, "load_processor", load_nothing)
    code, _, err = run("speak", "One.", "--model", checkpoint, "-o", "out.wav", "--device", "meta", *options)
    assert (code, err, asked) == (1, "t5gemma-tts speak: that is all\n", [codec_device])


def test_codec_of_ones_own(speak_with, processor):
    codec = tiny_codec(seed=5)
    codec.save_pretrained("codec")
    (tokens,) = speak_with("One.", "--duration", 0.4, "--codec", "codec")
    written, _ = soundfile.read("out.wav")
    np.testing.assert_allclose(written, codec.decode(tokens).clip(-1, 1), rtol=0, atol=2**-14)
    assert np.abs(written - processor.codec.decode(tokens).clip(-1, 1)).max() > 0.01


def test_codec_of_another_sampling_rate(speak_with):
    stored = tiny_codec().model.config.to_dict()
    stored.pop("model_type")
    config = T5GemmaTTSCodecConfig(**stored, output_sampling_rate=8000, decoder_hop_length=160)
    torch.manual_seed(0)
    XCodec2(T5GemmaTTSCodecModel(config)).save_pretrained("codec")
    (tokens,) = speak_with("One.", "--duration", 0.4, "--codec", "codec")
    info = soundfile.info("out.wav")
    assert (info.samplerate, info.frames) == (8000, 160 * len(tokens))


def test_codec_that_does_not_fit(run, checkpoint):
    stored = tiny_codec().model.config.to_dict() | {"quantization_levels": [4, 4, 4]}
    stored.pop("model_type")
    XCodec2(T5GemmaTTSCodecModel(T5GemmaTTSCodecConfig(**stored))).save_pretrained("codec")
    code, _, err = run("speak", "One.", "--model", checkpoint, "--codec", "codec", "-o", "out.wav")
    assert code == 1
    assert err.startswith("t5gemma-tts speak: the codec's `codebook_size` is 64, but this checkpoint was made for 256")
