"""Saved folders as Hub repositories, loaded with transformers only; checkpoints of the original project."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN_DIR, TTS_DIR
from safetensors.torch import load_file, save_file
from tiny_checkpoint import make_tiny_checkpoint
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor, XCodec2
from t5gemma_tts.cli.main import main
from t5gemma_tts.model.audio import save_audio


TEXTS = ["Hello there, my dear friend.", "今日はいい天気ですね。"]
LONG_TEXT = "The weather has been fine for days on end, and nobody could tell when it was going to rain again, if ever."

FRESH_PROCESS = """
import json, sys

class Blocker:  # the package may be installed where the tests run; here it must not be
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "t5gemma_tts":
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocker())
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoModelForTextToWaveform, AutoProcessor, pipeline

folder, texts, long_text = json.loads(sys.argv[1])
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
inputs = processor(text=texts, return_tensors="pt")
results = {"tokens": []}
for auto_class in (AutoModel, AutoModelForSeq2SeqLM, AutoModelForTextToWaveform):
    model = auto_class.from_pretrained(folder, trust_remote_code=True)
    results["tokens"].append(model.generate(**inputs, do_sample=False).tolist())
speak = pipeline("text-to-speech", folder, trust_remote_code=True)
greedy = {"do_sample": False}
one = speak(texts[0], generate_kwargs=greedy)
many = speak(texts, generate_kwargs=greedy)
long = speak(long_text)
results["sampling_rate"] = one["sampling_rate"]
results["one"] = one["audio"].tolist()
results["many"] = [len(output["audio"]) for output in many]
results["long_seconds"] = len(long["audio"]) / long["sampling_rate"]
results["modules"] = sorted(name for name in sys.modules if "t5gemma_tts" in name)
print("RESULTS" + json.dumps(results))
"""


@pytest.fixture(scope="module")
def endless_checkpoint(tmp_path_factory) -> Path:
    """A tiny checkpoint that never samples the end token, so that its speech has the maximum length."""
    folder = tmp_path_factory.mktemp("endless") / "checkpoint"
    make_tiny_checkpoint(folder)
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(folder)
    model.audio_head.out_proj.bias.data[model.config.codebook_size :] = -1e4
    model.config.extra_cutoff_seconds = 0.0
    model.save_pretrained(folder)
    return folder


def test_fresh_process_with_nothing_but_transformers(endless_checkpoint, tmp_path):
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path / "empty"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": "",
        "PYTHONWARNINGS": "ignore",
    }
    finished = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, json.dumps([str(endless_checkpoint), TEXTS, LONG_TEXT])],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    results = json.loads(finished.stdout.split("RESULTS")[1])
    assert results["modules"] and not any(name.split(".")[0] == "t5gemma_tts" for name in results["modules"])

    processor = T5GemmaTTSProcessor.from_pretrained(endless_checkpoint)
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(endless_checkpoint)
    expected = model.generate(**processor(text=TEXTS), do_sample=False)
    assert results["tokens"] == [expected.tolist()] * 3
    assert results["sampling_rate"] == processor.sampling_rate
    alone = processor.batch_decode(model.generate(**processor(text=TEXTS[0]), do_sample=False))[0]
    np.testing.assert_allclose(results["one"], alone, atol=1e-6)
    assert results["many"][0] == len(alone) and len(results["many"]) == len(TEXTS)
    # the pipeline's own default of 256 tokens would end at 5.12 s
    assert results["long_seconds"] == processor(text=LONG_TEXT)["num_frames"].item() / 50
    assert results["long_seconds"] > 5.2


def test_saved_folder_is_complete(endless_checkpoint):
    config = json.loads((endless_checkpoint / "config.json").read_text())
    assert set(config["auto_map"]) == {
        "AutoConfig",
        "AutoModel",
        "AutoModelForSeq2SeqLM",
        "AutoModelForTextToWaveform",
        "AutoProcessor",
    }
    for target in config["auto_map"].values():
        assert (endless_checkpoint / f"{target.split('.')[0]}.py").is_file()
    for code in endless_checkpoint.glob("*.py"):
        for line in code.read_text().splitlines():
            if line.startswith("from ."):
                assert (endless_checkpoint / f"{line.split()[1].lstrip('.')}.py").is_file(), f"{code.name}: {line}"
    assert (endless_checkpoint / "codec" / "model.safetensors").is_file()
    assert json.loads((endless_checkpoint / "generation_config.json").read_text())["top_k"] == 30


def original_checkpoint(folder: Path, codebook_size: int) -> Path:
    """A recorded original checkpoint with a tokenizer, its audio vocabulary widened to `codebook_size` codes."""
    models = [path for path in sorted((TTS_DIR / "models").iterdir()) if (path / "config.json").is_file()]
    source = next(path for path in models if json.loads((path / "config.json").read_text())["use_pm_rope"])
    config = json.loads((source / "config.json").read_text())
    old_size = config["audio_vocab_size"]
    for name in ("empty_token", "eog", "audio_pad_token", "eos", "y_sep_token"):
        config[name] += codebook_size - old_size
    config |= {"audio_vocab_size": codebook_size, "extra_cutoff": 0.2}
    weights = load_file(source / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name in ("audio_embedding.0.weight", "predict_layer.0.2.weight", "predict_layer.0.2.bias"):
        old = weights[name]
        new = torch.randn((codebook_size - old_size, *old.shape[1:]), generator=generator) * old.std()
        weights[name] = torch.cat([old[:old_size], new, old[old_size:]])
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    letters = ["<pad>", "<unk>", *"abcdefghijklmnopqrstuvwxyz ,.!?'"]
    tokenizer = Tokenizer(WordLevel({letter: number for number, letter in enumerate(letters)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    return folder


@pytest.mark.golden
@pytest.mark.parametrize("codec_folder", sorted(path.parent for path in (GOLDEN_DIR / "codec").glob("*/config.json")))
def test_original_checkpoint_and_codec_clone_a_voice(codec_folder, tmp_path):
    codec = XCodec2.from_pretrained(codec_folder)
    checkpoint = original_checkpoint(tmp_path / "checkpoint", codec.codebook_size)
    samples = np.arange(16000) / 16000
    voice = 0.3 * np.sin(2 * np.pi * 140 * samples * (1 + 0.1 * samples)).astype(np.float32)
    save_audio(voice, tmp_path / "voice.wav", 16000)
    arguments = {"text": "hello, how are you?", "reference_text": "what a day it is.", "duration": 1.5}

    processor = T5GemmaTTSProcessor.from_pretrained(checkpoint)
    processor.codec = codec
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(checkpoint)
    inputs = processor(reference_audio=tmp_path / "voice.wav", **arguments)
    assert inputs["decoder_input_ids"].shape[1] == 16000 // 320 + 1 + 2  # codes, start token, separator
    sequences = model.generate(**inputs, do_sample=True, top_k=1, top_p=1.0, temperature=1.0)

    output, tokens = tmp_path / "out.wav", tmp_path / "out.txt"
    command = ["speak", arguments["text"], "--model", str(checkpoint), "--codec", str(codec_folder)]
    command += ["--reference", str(tmp_path / "voice.wav"), "--reference-text", arguments["reference_text"]]
    command += ["--duration", "1.5", "--temperature", "0", "-o", str(output), "--tokens", str(tokens)]
    assert main(command) == 0
    assert list(map(int, tokens.read_text().split())) == processor.speech_codes(sequences[0])

    import soundfile

    spoken, rate = soundfile.read(output)
    assert rate == codec.sampling_rate
    expected = processor.batch_decode(sequences)[0].clip(-1, 1)
    np.testing.assert_allclose(spoken, expected, atol=1e-4)  # 16-bit steps


@pytest.mark.golden
def test_original_checkpoint_saves_as_ours(tmp_path):
    source = next(path for path in sorted((TTS_DIR / "models").iterdir()) if (path / "config.json").is_file())
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(source)
    assert model.generation_config.top_k == 30 and model.generation_config.max_length
    model.generation_config.top_k = 17
    model.save_pretrained(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert names == set(model.state_dict()) and not any(name.startswith("backbone.") for name in names)
    again = T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path)
    assert again.generation_config.top_k == 17
    text = torch.arange(5, 15)[None]
    first = model.generate(text, num_frames=[20], do_sample=False)
    assert again.generate(text, num_frames=[20], do_sample=False).tolist() == first.tolist()
