"""`t5gemma-tts encode`, `decode` and `info`."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from golden import TTS_DIR
from safetensors.torch import load_file
from voices import write_voice


def test_encode_and_decode(run, checkpoint, processor):
    paths = [write_voice(Path("one.wav")), write_voice(Path("two.wav"), 11025, 44100)]
    code, out, err = run("encode", *paths, "--codec", checkpoint, "-o", "tokens.txt")
    assert (code, out, err) == (0, "", "")
    codes = [processor.codec.encode(*soundfile.read(path, dtype="float32")).tolist() for path in paths]
    assert codes[0] != codes[1] and len(set(codes[0])) > 3
    text = "".join(" ".join(map(str, clip)) + "\n" for clip in codes)
    assert Path("tokens.txt").read_text() == text

    assert run("encode", *paths, "--codec", checkpoint / "codec") == (0, text, "")

    code, out, err = run("decode", "tokens.txt", "--codec", checkpoint, "-o", "again.flac")
    assert (code, out, err) == (0, "again-1.flac  0.52 s\nagain-2.flac  0.26 s\n", "")
    code, _, _ = run("decode", "-", "--codec", checkpoint, "-o", "piped.wav", stdin=text.splitlines()[1] + "\n\n")
    assert code == 0
    for path, clip in [("again-1.flac", codes[0]), ("again-2.flac", codes[1]), ("piped.wav", codes[1])]:
        written, sampling_rate = soundfile.read(path)
        assert sampling_rate == 16000
        np.testing.assert_allclose(written, processor.codec.decode(clip).clip(-1, 1), rtol=0, atol=2**-14)


def test_encode_error_for_an_existing_file(run, checkpoint):
    path = write_voice(Path("one.wav"))
    Path("tokens.txt").write_text("precious")
    code, _, err = run("encode", path, "--codec", checkpoint, "-o", "tokens.txt")
    assert code == 1 and "'tokens.txt' exists; pass --overwrite" in err
    assert Path("tokens.txt").read_text() == "precious"
    assert run("encode", path, "--codec", checkpoint, "-o", "tokens.txt", "--overwrite")[0] == 0
    assert len(Path("tokens.txt").read_text().split()) == 26
    soundfile.write("short.wav", np.zeros(1, np.float32), 16000)
    code, _, err = run("encode", path, "short.wav", "--codec", checkpoint)
    assert code == 1 and err.startswith("t5gemma-tts encode: 'short.wav': `waveform` must have at least 2 samples")
    code, _, err = run("encode", path, "none.wav", "--codec", checkpoint)
    assert (code, err) == (1, "t5gemma-tts encode: no audio file at 'none.wav'.\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n\n4 five 6\n", "tokens.txt, line 3: tokens must be whole numbers (invalid literal"),
        ("1 2.5\n", "tokens.txt, line 1: tokens must be whole numbers"),
        ("1 2 3\n\n4 256 6\n", "tokens.txt, line 3: tokens must be in [0, 256), got 256."),
        ("-1\n", "tokens.txt, line 1: tokens must be in [0, 256), got -1."),
        (" \n\n", "tokens.txt holds no tokens."),
    ],
)
def test_bad_token_files(run, checkpoint, text, message):
    Path("tokens.txt").write_text(text)
    code, out, err = run("decode", "tokens.txt", "--codec", checkpoint, "-o", "out.wav")
    assert code == 1 and out == ""
    assert err.startswith(f"t5gemma-tts decode: {message}")
    assert not list(Path().glob("*.wav"))


def test_info(run, checkpoint):
    code, out, err = run("info", checkpoint, "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    weights = load_file(checkpoint / "model.safetensors")
    assert re.match(r"en: g2p_en.*, ja: pyopenjtalk, zh: pypinyin", facts["phonemes_by"])
    assert facts == {
        "phonemes_by": facts["phonemes_by"],
        "model": str(checkpoint),
        "layout": "Hugging Face",
        "encoder": "2 layers, hidden 64, 4 heads, vocabulary 260, soft-capping off",
        "decoder": "2 layers, hidden 64, 4 heads, vocabulary 261, soft-capping off",
        "parameters": sum(weight.numel() for weight in weights.values()),
        "dtype": "F32",
        "position": "PM-RoPE, scale 2000",
        "codebook_size": 256,
        "frame_rate": "50 tokens per second",
        "sampling_rate": "16000 Hz",
        "codec": f"{checkpoint}/codec",
        "longest_speech": "120 s",
        "longest_text": "8192 tokens",
    }
    code, out, err = run("info", checkpoint)
    assert (code, err) == (0, "")
    lines = [line.split("  ", 1) for line in out.splitlines()]
    assert {name.replace(" ", "_"): value.strip() for name, value in lines} == {n: str(v) for n, v in facts.items()}


@pytest.mark.golden
@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in (TTS_DIR / "models").glob("*/config.json")), ids=lambda path: path.name
)
def test_info_of_original_checkpoints(run, folder):
    original = json.loads((folder / "config.json").read_text())
    code, out, err = run("info", folder, "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    weights = {}
    for path in folder.glob("*.safetensors"):
        weights.update(load_file(path))
    assert facts["layout"] == "original project"
    assert facts["parameters"] == sum(weight.numel() for weight in weights.values())
    assert facts["codebook_size"] == original["audio_vocab_size"]
    assert facts["sampling_rate"] == f"{original['codec_audio_sr']} Hz"
    assert facts["codec"] == original["xcodec2_model_name"]
    assert facts["position"].startswith("PM-RoPE" if original["use_pm_rope"] else "plain RoPE")
    assert f"hidden {original['t5_config_dict']['encoder']['hidden_size']}," in facts["encoder"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "not a valid JSON file"),
        ("{}", "is not a checkpoint"),
        ('{"model_type": "bert"}', "is not a T5Gemma-TTS checkpoint: its `model_type` is 'bert'"),
        ('{"model_type": "t5gemma_voice"}', "no `audio_vocab_size`"),
        ('{"model_type": "t5gemma_tts", "codebook_size": "many"}', "`codebook_size` must be an integer"),
        ('{"model_type": "t5gemma_tts", "eos_token_id": "last"}', "eos_token_id"),
        ('{"model_type": "t5gemma_tts"}', "holds no .safetensors weights"),
    ],
)
def test_info_of_bad_checkpoints(run, config, message):
    Path("config.json").write_text(config)
    code, out, err = run("info", ".")
    assert (code, out) == (1, "")
    assert err.startswith("t5gemma-tts info: ") and message in err
