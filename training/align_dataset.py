"""Aligns the codes of a prepared dataset with its text tokens, for training with guided attention.

    python training/align_dataset.py PREPARED OUTPUT --codec CODEC --tokenizer TOKENIZER

Adds the column `text_positions` with one float per code, a position in the tokens of `text`. Training uses it with the
option `guided_attention_tokens`. Rows, splits and other columns are unchanged.
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
    Adds the column `text_positions` to a prepared dataset.

    Args:
        source (`Path`): folder of the prepared dataset.
        output (`Path`): folder of the new dataset; must not exist.
        codec (`XCodec2`): codec of the dataset.
        tokenizer (`str`): tokenizer of the speech model: Hub name or folder.
        steps (`int`): training steps of the aligner on the split "train".
        seed (`int`, *optional*, defaults to 0)

    Returns:
        `float`: mean loss of the aligner in the last tenth of the steps, in nats per token.

    Raises:
        FileExistsError: if `output` exists.
        FileNotFoundError: if `source` is not a prepared dataset.
        ValueError: if `source` has no split "train", or another codebook size.
    """
    if output.exists():
        raise FileExistsError(f"{str(output)!r} already exists; choose a new folder.")
    metadata = DatasetMetadata.load(source)
    metadata.check_codebook(codec.codebook_size, f"dataset {str(source)!r}")
    splits = load_from_disk(source)
    if not isinstance(splits, DatasetDict) or "train" not in splits:
        raise ValueError(f"{str(source)!r} has no split 'train'.")
    names = {split: [f"{split}/{row_id}" for row_id in rows["id"]] for split, rows in splits.items()}
    codes = {split: CodeColumn([rows]) for split, rows in splits.items()}
    torch.manual_seed(seed)
    aligner = Aligner(
        codec, tokenizer, sum(names.values(), []), sum((list(rows["text"]) for rows in splits.values()), [])
    )
    losses = aligner.train(names["train"], [codes["train"][row] for row in range(len(codes["train"]))], steps, seed)
    loss = float(np.mean(losses[-max(1, steps // 10) :]))
    logger.info("CTC loss: %.3f nats per token", loss)
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
    parser.add_argument("source", type=Path, help="folder of the prepared dataset")
    parser.add_argument("output", type=Path, help="folder of the aligned dataset; must not exist")
    parser.add_argument("--codec", required=True, help="codec of the dataset")
    parser.add_argument("--tokenizer", required=True, help="tokenizer of the speech model: Hub name or folder")
    parser.add_argument("--steps", type=int, default=2000, help="training steps of the aligner (default: %(default)s)")
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
