"""Adds to a prepared dataset which text token each of its codes speaks, for training that guides attention there.

    python training/align_dataset.py PREPARED OUTPUT --codec CODEC --tokenizer TOKENIZER

The column `text_positions` has a float per code: a position in the tokens of `text`. `guided_attention_tokens` of
`training/train.py` reads it. Rows, splits and other columns stay as they are.
"""

import argparse
import logging
import shutil
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without installation

import numpy as np  # noqa: E402
import torch  # noqa: E402
from datasets import DatasetDict, List, Value, disable_progress_bars, load_from_disk  # noqa: E402

from t5gemma_tts.cli.command import command  # noqa: E402
from t5gemma_tts.codec_training.text_alignment import Aligner  # noqa: E402
from t5gemma_tts.model.xcodec2 import XCodec2  # noqa: E402
from t5gemma_tts.preparation.metadata import METADATA_FILE, DatasetMetadata  # noqa: E402
from t5gemma_tts.training.dataset import TEXT_POSITIONS, CodeColumn  # noqa: E402


logger = logging.getLogger(__name__)


def align_dataset(source: Path, output: Path, codec: XCodec2, tokenizer: str, steps: int, seed: int = 0) -> float:
    """
    Args:
        source, output (`Path`): prepared dataset, and folder of the new one.
        steps (`int`): of the recogniser's training, on the split "train".

    Returns:
        `float`: the recogniser's loss in its last tenth of steps, nats per token.

    Raises:
        FileExistsError: if `output` exists.
        FileNotFoundError, ValueError: if `source` is no prepared dataset with a split "train", or of another codebook.
    """
    if output.exists():
        raise FileExistsError(f"{str(output)!r} exists; name a new folder.")
    metadata = DatasetMetadata.load(source)
    metadata.check_codebook(codec.codebook_size, f"dataset {str(source)!r}")
    splits = load_from_disk(source)
    if not isinstance(splits, DatasetDict) or "train" not in splits:
        raise ValueError(f"{str(source)!r} has no split 'train' to learn from.")
    names = {split: [f"{split}/{row_id}" for row_id in rows["id"]] for split, rows in splits.items()}
    codes = {split: CodeColumn([rows]) for split, rows in splits.items()}
    torch.manual_seed(seed)
    aligner = Aligner(
        codec, tokenizer, sum(names.values(), []), sum((list(rows["text"]) for rows in splits.values()), [])
    )
    losses = aligner.train(names["train"], [codes["train"][row] for row in range(len(codes["train"]))], steps, seed)
    loss = float(np.mean(losses[-max(1, steps // 10) :]))
    logger.info("recogniser of codes: %.3f nats per token", loss)
    aligned = DatasetDict()
    for split, rows in splits.items():
        positions = [aligner.align(name, codes[split][row]) for row, name in enumerate(names[split])]
        aligned[split] = rows.add_column(TEXT_POSITIONS, positions, feature=List(Value("float32")))
    aligned.save_to_disk(output)
    shutil.copyfile(source / METADATA_FILE, output / METADATA_FILE)
    return loss


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder that prepare_dataset.py made")
    parser.add_argument("output", type=Path, help="new folder")
    parser.add_argument("--codec", required=True, help="codec of the dataset")
    parser.add_argument("--tokenizer", required=True, help="tokenizer of the speech model: Hub name or folder")
    parser.add_argument("--steps", type=int, default=2000, help="of the recogniser's training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    disable_progress_bars()
    if arguments.steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {arguments.steps}.")
    codec = XCodec2.from_pretrained(arguments.codec)
    align_dataset(arguments.source, arguments.output, codec, arguments.tokenizer, arguments.steps, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
