"""Types of the public API, as type checkers infer them."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import t5gemma_tts


PACKAGE = Path(t5gemma_tts.__file__).parent
USER = """
import numpy as np
import torch

from t5gemma_tts import SpeechEngine, T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor, XCodec2, speech_requests

model = T5GemmaTTSForConditionalGeneration.from_pretrained("folder", quantization="int8").to("cpu")
processor = T5GemmaTTSProcessor.from_pretrained("folder")
inputs = processor(text=["Hello.", "Bye."], reference_audio=[None, "voice.wav"], reference_text=[None, "Hi."])
codes = model.generate(**inputs, do_sample=True, temperature=0.8)
assert isinstance(codes, torch.Tensor)
sounds = processor.batch_decode(codes)
processor.save_audio(sounds, "out.wav")
for request in SpeechEngine(model, 4).run(speech_requests(model, **inputs, seed=0)):
    reveal_type(request.token_ids)
reveal_type(sounds)
reveal_type(processor.codec)
reveal_type(model.config.sampling_rate)
reveal_type(XCodec2.from_pretrained("codec").decode(np.arange(5)))
processor(text=3)
model.config.codebook_size.lower()
"""
# what the user is told: of the types above, and of the two mistakes
TOLD = (
    'Revealed type is "list[int]"',
    'Revealed type is "list[numpy.ndarray[tuple[Any, ...], numpy.dtype[numpy.floating[',
    'Revealed type is "t5gemma_tts.model.xcodec2.XCodec2"',
    'Revealed type is "int"',
    'Revealed type is "numpy.ndarray[tuple[Any, ...], numpy.dtype[numpy.floating[',
    'Argument "text" to "__call__" of "T5GemmaTTSProcessor" has incompatible type "int"; expected "str | list[str]"',
    '"int" has no attribute "lower"',
)


def test_the_package_says_that_it_has_types():
    assert (PACKAGE / "py.typed").is_file()


def test_type_checkers_see_the_names_that_the_package_has():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == t5gemma_tts._MODULES


@pytest.mark.slow
def test_users_who_check_types_get_ours(tmp_path):
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "user.py"]
    environment = os.environ | {"MYPYPATH": str(PACKAGE.parent)}  # an editable installation is not found
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    told = [line.split(": ", 2)[2] for line in result.stdout.splitlines() if line.startswith("user.py:")]
    assert len(told) == len(TOLD) and all(map(str.startswith, told, TOLD)), result.stdout + result.stderr
