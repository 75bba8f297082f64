"""FSDP2 on two CPU processes, with the launch configurations."""

import subprocess
import sys
from pathlib import Path

import torch
from speech_data import speech_rows
from test_resume import environment

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from t5gemma_tts.training.dataset import SpeechCollator, SpeechDataset


def test_sharded_training_saves_and_loads(tmp_path, tiny_checkpoint):
    tests = Path(__file__).parent
    launched = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"),
            *(str(tests / "sharded_steps.py"), str(tiny_checkpoint), str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=300,
    )
    assert launched.returncode == 0, launched.stderr[-3000:]
    shards = [path.name for path in (tmp_path / "shards").iterdir()]
    assert sum(name.endswith(".distcp") for name in shards) == 2

    # one process that averages the two ranks' losses ends with the same weights
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint).train()
    processor = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)
    dataset = SpeechDataset([speech_rows(8)], processor.tokenizer, model.config)
    collate = SpeechCollator(model.config)
    batches = [collate([dataset[row] for row in range(rank, 8, 2)]) for rank in (0, 1)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(2):
        for batch in batches:
            (model(**batch).loss / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    gathered = T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path / "gathered")
    for (name, expected), found in zip(model.named_parameters(), gathered.parameters(), strict=True):
        # Adam's first steps have the gradient's sign: a gradient of rounding size may point either way
        close = torch.isclose(found, expected, rtol=0, atol=1e-4)
        assert close.float().mean() > 0.999, name
