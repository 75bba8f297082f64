"""Trains an XCodec2: a new model of any size, or a published one in full, its decoder only or its encoder only.

    python training/train_codec.py training/recipes/nano/codec.yaml
    accelerate launch training/train_codec.py --model CODEC --freeze_encoder true --data FOLDER --output_dir OUT

Options come from a YAML recipe, which is optional, and from the command line, which wins. To continue an interrupted
run, pass `--resume true`; it gives the same weights.
"""

import dataclasses
import logging
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without installation

from accelerate import Accelerator  # noqa: E402
from transformers import set_seed  # noqa: E402

from t5gemma_tts.codec_training.arguments import (  # noqa: E402
    CodecDataArguments,
    CodecModelArguments,
    CodecTrainingArguments,
)
from t5gemma_tts.codec_training.cache import build_cache  # noqa: E402
from t5gemma_tts.codec_training.checkpoints import checkpoints  # noqa: E402
from t5gemma_tts.codec_training.data import list_recordings  # noqa: E402
from t5gemma_tts.codec_training.model import load_codec_to_train  # noqa: E402
from t5gemma_tts.codec_training.trainer import CodecTrainer  # noqa: E402
from t5gemma_tts.recipes import RecipeParser  # noqa: E402


logger = logging.getLogger("train_codec")


def parse_arguments(argv: list[str]) -> tuple[CodecModelArguments, CodecDataArguments, CodecTrainingArguments]:
    """
    Parses a recipe file and command-line options, which win over the recipe.

    Raises:
        SystemExit: as [`RecipeParser.parse_recipe`].
    """
    groups = (CodecModelArguments, CodecDataArguments, CodecTrainingArguments)
    return RecipeParser(groups, "train_codec.py", __doc__).parse_recipe(argv)


def check_output(arguments: CodecTrainingArguments) -> None:
    """
    Checks the output folder.

    Raises:
        ValueError: if the folder already has a run and `resume` is not set.
    """
    folder = Path(arguments.output_dir)
    found = [path.name for path in checkpoints(folder)] if folder.is_dir() else []
    found += [name for name in ("model.safetensors", "losses.jsonl") if (folder / name).exists()]
    if found and not arguments.resume:
        raise ValueError(
            f"{arguments.output_dir!r} already has {found[-1]}; pass `resume true` to resume, or another `output_dir`."
        )


def main(argv: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    groups = parse_arguments(sys.argv[1:] if argv is None else argv)
    model_arguments, data_arguments, arguments = groups
    check_output(arguments)
    Path(arguments.output_dir).mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        cpu=arguments.use_cpu,
        mixed_precision=arguments.mixed_precision,
        log_with=arguments.report_to or None,
        project_dir=arguments.output_dir,
    )
    if not accelerator.is_main_process:
        logging.getLogger().setLevel(logging.WARNING)
    set_seed(arguments.seed)
    codec = load_codec_to_train(model_arguments).to(accelerator.device)
    recordings = list_recordings(data_arguments)
    cache_dir = data_arguments.cache_dir or Path(arguments.output_dir, "cache")
    with accelerator.main_process_first():
        cache = build_cache(cache_dir, recordings, codec, min(arguments.segment_frames))
        if model_arguments.freeze_encoder:
            cache.load_codes(codec)
    if arguments.report_to:
        accelerator.init_trackers("codec")
    settings = {name: value for group in groups for name, value in dataclasses.asdict(group).items()}
    set_seed(arguments.seed)
    texts = None
    if arguments.text_weight:
        kept = {clip.id for clip in cache.split("train")}
        texts = {recording.id: recording.row().text or "" for recording in recordings if recording.id in kept}
    trainer = CodecTrainer(codec, model_arguments, arguments, cache, settings, accelerator, texts)
    if arguments.resume and not trainer.resume():
        logger.warning("%s has no checkpoint yet: training starts from the beginning.", arguments.output_dir)
    logger.info(
        "%d clips, %.2f h, %d trained parameters",
        len(cache.split("train")),
        sum(clip.num_frames for clip in cache.split("train")) / codec.frame_rate / 3600,
        sum(parameter.numel() for parameter in trainer.parameters),
    )
    trainer.train()
    accelerator.end_training()


if __name__ == "__main__":
    main()
