"""Upload to a Hub and download in a process with only transformers and the requirements of the card."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from closed_site import make_site, requirements_of, run_closed
from hub_server import Hub, running_hub

from t5gemma_tts.loading import load_model, load_processor


ROOT = Path(__file__).parents[1]
NEEDED = ["transformers", "torch", "numpy"]
SENTENCE = "The gardener carries a yellow basket of apples to the market."

PUSH = """
import sys
from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor

folder, repo, private_copy = sys.argv[1:]
T5GemmaTTSForConditionalGeneration.from_pretrained(folder).push_to_hub(repo)
processor = T5GemmaTTSProcessor.from_pretrained(folder)
processor.push_to_hub(repo)
processor.save_pretrained("saved", push_to_hub=True, repo_id=private_copy, commit_message="All of it", private=True)
"""

PULL = """
import json
from transformers import AutoModel, AutoProcessor, pipeline

repo, text = sys.argv[1:]
speak = pipeline("text-to-speech", repo, trust_remote_code=True)
output = speak(text, generate_kwargs={"do_sample": False})
processor = AutoProcessor.from_pretrained(repo, trust_remote_code=True)
model = AutoModel.from_pretrained(repo, trust_remote_code=True)
(audio,) = processor.batch_decode(model.generate(**processor(text=text), do_sample=False))
assert output["sampling_rate"] == processor.sampling_rate and abs(output["audio"] - audio).max() < 1e-5
# with a length of its own, which is estimated from phonemes where they are known
tokens = model.generate(**processor(text=text, duration=3.0), do_sample=False)
(audio,) = processor.batch_decode(tokens)
foreign = sorted(name for name in sys.modules if name.split(".")[0] in ("t5gemma_tts", "training", "soundfile"))
print("RESULT" + json.dumps([audio.tolist(), tokens.tolist(), foreign]))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return make_site(tmp_path_factory.mktemp("site") / "packages", NEEDED)


def run_online(hub: Hub, folder: Path, *command: str) -> subprocess.CompletedProcess:
    """Runs Python with this project, with `hub` as the Hub."""
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    settings |= {"HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, *command], env=os.environ | settings, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return finished


def pull(hub: Hub, repo: str, text: str, site: Path, home: Path) -> tuple[np.ndarray, list]:
    printed = run_closed(PULL, repo, text, site=site, home=home, HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1")
    audio, tokens, foreign = json.loads(printed.split("RESULT")[1])
    assert foreign == []
    return np.array(audio, np.float32), tokens


def spoken_here(folder: str, text: str) -> tuple[np.ndarray, list]:
    model, processor = load_model(folder, device="cpu"), load_processor(folder, codec_device="cpu")
    tokens = model.generate(**processor(text=text, duration=3.0), do_sample=False)
    return processor.batch_decode(tokens)[0], tokens.tolist()


def test_the_closed_python_is_closed(site, tmp_path):
    script = "import importlib.util as u\nprint([u.find_spec(n) is not None for n in sys.argv[1:]])"
    names = ["transformers", "torch", "t5gemma_tts", "training", "soundfile", "soxr", "datasets", "accelerate"]
    assert run_closed(script, *names, site=site, home=tmp_path).split("\n")[0] == str([True] * 2 + [False] * 6)
    assert "soundfile" not in requirements_of(NEEDED)


def test_push_to_hub_of_model_and_processor(tiny_checkpoint, site, tmp_path):
    with running_hub() as hub:
        run_online(hub, tmp_path, "-c", PUSH, str(tiny_checkpoint), "me/voice", "me/copy")
        pushed = hub.repositories["models", "me/voice"]
        expected = {str(path.relative_to(tiny_checkpoint)) for path in tiny_checkpoint.rglob("*") if path.is_file()}
        assert set(pushed.files()) == expected | {"README.md"} and len(pushed.messages) == 2
        copy = hub.repositories["models", "me/copy"]
        assert {"codec/model.safetensors", "codec/config.json", "processor_config.json"} <= set(copy.files())
        assert copy.messages == ["All of it"] and (tmp_path / "saved" / "codec" / "model.safetensors").is_file()
        audio, tokens = pull(hub, "me/voice", SENTENCE, site, tmp_path / "home")
    expected_audio, expected_tokens = spoken_here(str(tiny_checkpoint), SENTENCE)
    assert tokens == expected_tokens
    np.testing.assert_allclose(audio, expected_audio, atol=1e-5)


def test_a_processor_is_not_pushed_without_its_codec(processor, tmp_path):
    with pytest.raises(ValueError, match="`save_codec` must be True"):
        processor.save_pretrained(tmp_path / "out", save_codec=False, push_to_hub=True)
    assert not (tmp_path / "out").exists()
