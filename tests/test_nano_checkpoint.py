"""The bundled model nano: complete, small, the default model, and loadable in all supported ways."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from recordings import ENVIRONMENT
from safetensors import safe_open
from transformers import AutoTokenizer

from t5gemma_tts import XCodec2
from t5gemma_tts.checkpoints import NANO
from t5gemma_tts.loading import load_model, load_processor


FOLDER = Path(NANO)
LARGEST = 45_000_000  # bytes


def test_it_is_small_and_in_half_precision():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST
    sounds = [path for path in files if path.suffix == ".wav"]
    assert sounds and sum(path.stat().st_size for path in sounds) <= 1_000_000
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, "np") as weights:
                assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118


def test_layout_is_that_of_a_hub_repository(tiny_checkpoint):
    expected = {path.relative_to(tiny_checkpoint) for path in tiny_checkpoint.rglob("*") if path.is_file()}
    found = {path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file()}
    assert {path for path in expected - found if path.suffix != ".py"} == set()
    extra = {path for path in found - expected if path.parts[0] != "audio"}
    pictures = {f"evaluation/{name}.png" for name in ("duration", "error_by_length", "pm_rope")}
    assert {path.as_posix() for path in extra} == {
        "README.md",
        "curves.png",
        "lexicon_en.tsv.gz",
        "letter_to_sound_en.safetensors",
        *pictures,
    }


def test_it_holds_no_code_and_no_links():
    """The bundled checkpoint loads with the package's classes, also in a checkout without symbolic links."""
    assert not any(path.is_symlink() or path.suffix == ".py" for path in FOLDER.rglob("*"))
    for path in FOLDER.glob("*.json"):
        assert "auto_map" not in path.read_text(encoding="utf-8")


def test_card_has_its_metadata_and_no_paths_of_a_machine():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-to-speech" in text and "license: mit" in text
    assert "hibari" in text and "joe" in text and "| held-out sentences | 200 |" in text
    for path in (FOLDER / "README.md", FOLDER / "config.json", FOLDER / "processor_config.json"):
        assert "/root/" not in path.read_text() and "/work/" not in path.read_text() and "runs/" not in path.read_text()


@pytest.fixture(scope="module")
def nano():
    return load_model(NANO, device="cpu"), load_processor(NANO, codec_device="cpu")


def test_it_ends_by_itself_where_it_was_asked_to(nano):
    model, processor = nano
    texts = ["Good morning!", "The train leaves at seven.", "My sister bakes bread on Sunday."]
    durations = [1.0, 2.0, 2.5]
    torch.manual_seed(0)
    sequences = model.generate(**processor(text=texts, duration=durations))
    for waveform, seconds in zip(processor.batch_decode(sequences), durations, strict=True):
        assert len(waveform) / processor.sampling_rate == pytest.approx(seconds, rel=0.05)
        assert np.sqrt(np.mean(waveform**2)) > 0.01


def test_another_text_is_less_likely(nano):
    """The speech of a sample in the card has a lower loss with its own text than with another one."""
    model, processor = nano
    samples = sorted((FOLDER / "audio").glob("*validation*.wav"))[:2]
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    texts = [card.split(f"(audio/{path.name})")[1].split('"')[1] for path in samples]
    for path, own, other in zip(samples, texts, texts[::-1], strict=True):
        waveform, rate = soundfile.read(path, dtype="float32")
        codes = torch.as_tensor(processor.codec.encode(waveform, rate)).long()[None]
        start = torch.full((1, 1), model.config.decoder_start_token_id)
        losses = []
        for text in (own, other):
            inputs = processor(text=text)
            spoken = torch.cat([start, codes[:, :-1]], dim=1)
            with torch.no_grad():
                outputs = model(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    decoder_input_ids=spoken,
                    decoder_attention_mask=torch.ones_like(spoken),
                    labels=codes,
                )
            losses.append(outputs.loss.item())
        assert losses[0] < losses[1] - 0.2


def test_codec_and_tokenizer_load_separately():
    codec = XCodec2.from_pretrained(FOLDER / "codec")
    audio = codec.decode(codec.encode(np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32), 16000))
    assert len(audio) >= 16000
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert tokenizer.tokenize("ɡˈʊd  mˈɔɹnɪŋ.") == "ɡ ˈʊ d ▁ m ˈɔ ɹ n ɪ ŋ .".split()


def test_command_line_speaks_without_a_model_being_named(run, tmp_path):
    code, output, error = run("speak", "Good morning!", "-o", "morning.wav", "--duration", 1.0, "--seed", 0)
    assert code == 0, error
    assert soundfile.info(tmp_path / "morning.wav").duration == pytest.approx(1.0, abs=0.05)


def test_pipeline_with_nothing_of_the_project_installed(run, tmp_path):
    code, output, error = run("export", "nano", "exported")
    assert code == 0, error
    script = (
        "import json, sys\n"
        "from transformers import pipeline\n"
        "speak = pipeline('text-to-speech', 'exported', trust_remote_code=True)\n"
        "output = speak('Good morning!')\n"
        "assert 't5gemma_tts' not in sys.modules\n"
        "print(json.dumps([len(output['audio']), output['sampling_rate']]))"
    )
    environment = {**ENVIRONMENT, "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    length, rate = json.loads(done.stdout.splitlines()[-1])
    assert rate == 16000 and length > 0.4 * rate
