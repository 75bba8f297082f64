"""`t5gemma-tts batch`."""

from argparse import Namespace

from tqdm import tqdm
from transformers.utils import logging

from ..loading import ModelOptions
from .messages import announce, shows_progress
from .speak import sampling_options


def run(arguments: Namespace) -> None:
    try:
        import datasets

        from ..batch.arguments import CONTENTS, BatchArguments
        from ..batch.run import synthesize_batch
    except ImportError as error:
        raise ImportError(f'batches need `pip install "t5gemma-tts[batch]"` ({error}).') from error

    if arguments.low_vram:
        arguments.batch_size = 1
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    options = BatchArguments(
        source=arguments.source,
        output=arguments.output,
        model=ModelOptions.from_attributes(arguments),
        config_name=arguments.config_name,
        split=arguments.split,
        text_column=arguments.text_column,
        id_column=arguments.id_column,
        language=arguments.language,
        speed=arguments.speed,
        normalize=arguments.normalize,
        lexicon=arguments.lexicon,
        voices_dir=arguments.voices_dir,
        reference_audio=arguments.reference,
        reference_text=arguments.reference_text,
        asr=arguments.asr,
        sampling=sampling_options(arguments),
        seed=arguments.seed,
        contents=CONTENTS if arguments.keep == "both" else (arguments.keep,),
        watermark=arguments.watermark,
        rows_per_shard=arguments.rows_per_shard,
        batch_size=arguments.batch_size,
        engine=arguments.engine,
        num_workers=arguments.workers,
        gpus_per_worker=arguments.gpus_per_worker,
        overwrite=arguments.overwrite,
    )
    with tqdm(unit="row", disable=not shows_progress()) as bar:

        def on_start(done: int, total: int) -> None:
            bar.reset(total)
            bar.update(done)

        summary = synthesize_batch(options, on_start, bar.update)
    announce(f"{arguments.output}  {summary}")
