"""Reading training data: an Arrow dataset against one text file and one token file per utterance.

    python benchmarks/data.py [--json] [--quick]

The baseline is the original's layout: a folder of transcripts and a folder of token files with numbers as text, opened,
read and parsed per sample. Both go through a DataLoader into the same collator; lengths are like speech's, 2 to 20 s.
Padding is that of whole batches, text and audio together, with random batches of equal token budget as the baseline.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import interleaved, median, print_json, report  # noqa: E402


CODEBOOK_SIZE = 65536
WORDS = (
    "the of and a to in is you that it he was for on are as with his they at be this have from or one had by".split()
)
MAX_TOKENS = 16000


class FilePerUtterance(torch.utils.data.Dataset):
    """The baseline: `text/ID.txt` and `codes/ID.txt`."""

    def __init__(self, folder: Path, tokenizer):
        self.folder, self.tokenizer = folder, tokenizer
        self.names = sorted(path.stem for path in (folder / "text").iterdir())

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> dict:
        name = self.names[row]
        text = (self.folder / "text" / f"{name}.txt").read_text()
        codes = np.array([int(code) for code in (self.folder / "codes" / f"{name}.txt").read_text().split()])
        return {"input_ids": self.tokenizer(text, add_special_tokens=False)["input_ids"], "codes": codes}


def make_rows(count: int) -> list[dict]:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        seconds = float(np.clip(generator.lognormal(1.8, 0.5), 2, 20))
        text = " ".join(generator.choice(WORDS, max(3, int(seconds * 2.5))))
        num_frames = int(seconds * 50)
        codes = generator.integers(0, CODEBOOK_SIZE, num_frames).astype(np.uint16)
        rows.append({"id": f"{number:06d}", "text": text, "codes": codes, "num_frames": num_frames, "speaker": "a"})
    return rows


def disk_bytes(folder: Path) -> int:
    """What the files occupy, in whole blocks of the file system."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def samples_per_second(dataset, batches: list, collate) -> dict:
    """Over whole epochs, a second of them at least."""
    loader = torch.utils.data.DataLoader(dataset, batch_sampler=batches, collate_fn=collate)
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + 1:
        count += sum(len(batch["labels"]) for batch in loader)
    return {"rate": count / (time.perf_counter() - start)}


def random_batches(lengths: np.ndarray) -> list[list[int]]:
    """Rows in random order, cut where the padded batch would pass the budget."""
    batches, current, longest = [], [], 0
    for row in np.random.default_rng(0).permutation(len(lengths)).tolist():
        if current and (len(current) + 1) * max(longest, lengths[row]) > MAX_TOKENS:
            batches.append(current)
            current, longest = [], 0
        current.append(row)
        longest = max(longest, lengths[row])
    return [*batches, current]


def padding(batches: list, lengths: np.ndarray) -> float:
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    return 1 - sum(lengths[row] for batch in batches for row in batch) / padded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer rows and repeats")
    arguments = parser.parse_args()
    count, repeats = (500, 1) if arguments.quick else (4000, 5)

    from datasets import Dataset, Features, Sequence, Value, load_from_disk
    from transformers import AutoTokenizer

    from t5gemma_tts import T5GemmaTTSConfig
    from t5gemma_tts.checkpoints import NANO
    from t5gemma_tts.training.batching import TokenBatchSampler
    from t5gemma_tts.training.dataset import SpeechCollator, SpeechDataset

    tokenizer = AutoTokenizer.from_pretrained(NANO)
    config = T5GemmaTTSConfig(codebook_size=CODEBOOK_SIZE)
    collate = SpeechCollator(config)
    rows = make_rows(count)
    with tempfile.TemporaryDirectory() as temporary:
        files, arrow = Path(temporary, "files"), Path(temporary, "arrow")
        for name in ("text", "codes"):
            (files / name).mkdir(parents=True)
        for row in rows:
            (files / "text" / f"{row['id']}.txt").write_text(row["text"])
            (files / "codes" / f"{row['id']}.txt").write_text(" ".join(map(str, row["codes"].tolist())))
        features = Features(
            id=Value("string"),
            text=Value("string"),
            codes=Sequence(Value("uint16")),
            num_frames=Value("int32"),
            speaker=Value("string"),
        )
        Dataset.from_list(rows, features=features).save_to_disk(arrow)
        speech = SpeechDataset([load_from_disk(str(arrow))], tokenizer, config)
        sampler = TokenBatchSampler(speech.num_frames, speech.num_text_tokens, MAX_TOKENS)
        plan = [[row for row, _ in batch] for batch in sampler]
        lengths = speech.num_frames + speech.num_text_tokens
        shuffled = random_batches(lengths)
        baseline = FilePerUtterance(files, tokenizer)
        results = interleaved(
            {
                "files": lambda: samples_per_second(baseline, plan, collate),
                "arrow": lambda: samples_per_second(speech, plan, collate),
            },
            repeats,
        )
        rates = {name: median(result, "rate") for name, result in results.items()}
        sizes = {"files": disk_bytes(files), "arrow": disk_bytes(arrow)}
    figures = {
        "loading": {"samples_per_second_ratio": rates["arrow"] / rates["files"]},
        "disk": {"ratio": sizes["arrow"] / sizes["files"]},
        "padding": {"share": sampler.padding_share(), "random_share": padding(shuffled, lengths)},
    }
    if arguments.json:
        print_json(figures)
        return
    report(
        f"{count} clips, batches of {MAX_TOKENS} tokens",
        [
            (
                "one file each",
                f"{rates['files']:.0f}",
                f"{sizes['files'] / 1e6:.1f}",
                f"{figures['padding']['random_share']:.1%}",
            ),
            ("arrow", f"{rates['arrow']:.0f}", f"{sizes['arrow'] / 1e6:.1f}", f"{figures['padding']['share']:.1%}"),
            ("ratio", f"{rates['arrow'] / rates['files']:.1f}", f"{sizes['arrow'] / sizes['files']:.2f}", ""),
        ],
        ("", "samples/s", "disk MB", "padding"),
    )


if __name__ == "__main__":
    main()
