"""Trains T5Gemma-TTS from a text backbone, or fine-tunes a checkpoint in full or with LoRA.

    accelerate launch --config_file accelerate_config.yaml training/train.py training/recipes/finetune.yaml
    accelerate launch training/train.py training/recipes/lora.yaml --model MODEL --max_steps 1000

Options come from a YAML recipe, which is optional, and from the command line, which wins. To continue an interrupted
run, pass `--resume_from_checkpoint true`: it uses the same batches and gives the same weights.
"""

import dataclasses
import json
import logging
import os
import sys
from pathlib import Path

import torch
from huggingface_hub.errors import EntryNotFoundError
from transformers import AutoTokenizer, BitsAndBytesConfig, set_seed
from transformers.trainer_utils import get_last_checkpoint

from .. import T5GemmaTTSConfig, T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from ..checkpoints import resolve_checkpoint
from ..model.text_front_end import TextFrontEnd
from ..model_cards.build import RECIPE_FILE
from ..preparation.metadata import DatasetMetadata
from ..recipes import RecipeParser
from .arguments import DataArguments, ModelArguments, T5GemmaTTSTrainingArguments
from .dataset import SpeechDataset, load_prepared
from .trainer import T5GemmaTTSTrainer


logger = logging.getLogger("train")

GEMMA_SEPARATOR_ID = 255999


def parse_arguments(argv: list[str]) -> tuple[ModelArguments, DataArguments, T5GemmaTTSTrainingArguments]:
    """
    Parses a recipe file and command-line options, which win over the recipe.

    Raises:
        SystemExit: as [`RecipeParser.parse_recipe`].
    """
    groups = (ModelArguments, DataArguments, T5GemmaTTSTrainingArguments)
    return RecipeParser(groups, "t5gemma-tts train", __doc__).parse_recipe(argv)


def load_model_and_processor(
    arguments: ModelArguments,
) -> tuple[T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor]:
    """Loads the model to train, with LoRA adapters if requested, and the processor to save with it."""
    source = resolve_checkpoint(arguments.model or arguments.backbone)
    kwargs = {"dtype": getattr(torch, arguments.model_dtype)}
    if arguments.attn_implementation:
        kwargs["attn_implementation"] = arguments.attn_implementation
    if arguments.quantize:
        four_bits = arguments.quantize == "4bit"
        kwargs["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=four_bits,
            load_in_8bit=not four_bits,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=["audio_head"],
        )
    if arguments.model:
        processor = T5GemmaTTSProcessor.from_pretrained(source)
        model = T5GemmaTTSForConditionalGeneration.from_pretrained(source, **kwargs)
    else:
        tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer or source)
        front_end = TextFrontEnd.from_pretrained(arguments.tokenizer or source)
        separator = GEMMA_SEPARATOR_ID
        if arguments.text_separator_token is not None:
            separator = tokenizer.convert_tokens_to_ids(arguments.text_separator_token)
        config_kwargs = {
            "codebook_size": arguments.codebook_size,
            "codec_name_or_path": arguments.codec,
            "text_separator_token_id": separator,
            "text_eos_token_id": tokenizer.eos_token_id,
        }
        model = T5GemmaTTSForConditionalGeneration.from_backbone(source, config_kwargs=config_kwargs, **kwargs)
        processor = T5GemmaTTSProcessor.from_config(model.config, tokenizer, front_end)
    if arguments.model and arguments.tokenizer:
        processor.tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
        processor.front_end = TextFrontEnd.from_pretrained(arguments.tokenizer)
    if arguments.model and arguments.codec:
        processor.codec_name_or_path = model.config.codec_name_or_path = arguments.codec
    model.config.eos_loss_weight = arguments.eos_loss_weight
    text_vocab_size = model.config.backbone.encoder.vocab_size
    if len(processor.tokenizer) > text_vocab_size:
        raise ValueError(
            f"the tokenizer has {len(processor.tokenizer)} entries, the model's text vocabulary only {text_vocab_size}."
        )
    if arguments.freeze_backbone:
        model.requires_grad_(False)
        model.get_decoder().embed_tokens.requires_grad_(True)
        model.audio_head.requires_grad_(True)
    if arguments.lora_rank:
        model = add_adapters(model, arguments)
    return model, processor


def add_adapters(model: T5GemmaTTSForConditionalGeneration, arguments: ModelArguments):
    """Returns a PEFT model with the LoRA or DoRA adapters of `arguments`."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if arguments.quantize:
        model = prepare_model_for_kbit_training(model)
    return get_peft_model(
        model,
        LoraConfig(
            r=arguments.lora_rank,
            lora_alpha=arguments.lora_alpha,
            lora_dropout=arguments.lora_dropout,
            target_modules=arguments.lora_target_modules,
            modules_to_save=arguments.lora_modules_to_save or None,
            use_dora=arguments.use_dora,
            task_type="SEQ_2_SEQ_LM",
        ),
    )


def load_data(
    arguments: DataArguments,
    processor: T5GemmaTTSProcessor,
    config: T5GemmaTTSConfig,
    evaluate: bool,
    aligned: bool = False,
) -> tuple[SpeechDataset, SpeechDataset | None]:
    """
    Loads the training and evaluation datasets.

    Raises:
        ValueError: if a dataset was prepared with another codebook size or frame rate than the model's.
    """
    for name in arguments.datasets:
        try:
            prepared = DatasetMetadata.load(name)
        except (FileNotFoundError, EntryNotFoundError):  # without metadata, `SpeechDataset` checks the codes
            continue
        prepared.check_codebook(config.codebook_size, f"dataset {name!r}")
        if prepared.frame_rate != config.frame_rate:
            raise ValueError(
                f"dataset {name!r} has {prepared.frame_rate} codes a second, but the model has {config.frame_rate}."
            )
    train = SpeechDataset(
        [load_prepared(name, arguments.train_split) for name in arguments.datasets],
        processor.tokenizer,
        config,
        stretched=arguments.stretched,
        aligned=aligned,
        front_end=processor.front_end,
    )
    if not evaluate:
        return train, None
    splits = [load_prepared(name, arguments.eval_split) for name in arguments.datasets]
    return train, SpeechDataset(splits, processor.tokenizer, config, front_end=processor.front_end)


def mixed_precision(arguments: T5GemmaTTSTrainingArguments) -> str:
    """Names the precision of the arithmetic, for a message."""
    return "bfloat16 mixed precision" if arguments.bf16 else "float16 mixed precision" if arguments.fp16 else "float32"


def last_checkpoint(arguments: T5GemmaTTSTrainingArguments) -> str | None:
    """
    Returns the checkpoint to resume from, or None.

    Raises:
        ValueError: if the output folder has checkpoints and `resume_from_checkpoint` is not set.
    """
    found = get_last_checkpoint(arguments.output_dir) if os.path.isdir(arguments.output_dir) else None
    resume_from = arguments.resume_from_checkpoint
    if resume_from is None:
        if found:
            raise ValueError(
                f"{arguments.output_dir!r} already has {Path(found).name}; pass `resume_from_checkpoint true` to "
                "resume it, or choose another `output_dir`."
            )
        return None
    if str(resume_from).lower() != "true":
        return resume_from
    if found is None:
        logger.warning("%s has no checkpoint yet: training starts from the beginning.", arguments.output_dir)
    return found


def main(argv: list[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model_arguments, data_arguments, arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    checkpoint = last_checkpoint(arguments)
    logger.info("training on %s, %s", arguments.device, mixed_precision(arguments))
    set_seed(arguments.seed)
    model, processor = load_model_and_processor(model_arguments)
    config = model.config
    train_dataset, eval_dataset = load_data(
        data_arguments,
        processor,
        config,
        evaluate=arguments.eval_strategy != "no",
        aligned=arguments.guided_attention_tokens is not None,
    )
    trainer = T5GemmaTTSTrainer(
        model,
        arguments,
        train_dataset,
        eval_dataset,
        prompt_options=data_arguments,
        dataset_weights=data_arguments.dataset_weights,
        processor=processor,
    )
    sampler = trainer.get_train_dataloader().batch_sampler
    sampler = getattr(sampler, "batch_sampler", sampler)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info(
        "%d rows, %d batches an epoch, %.1f %% padding, %d trainable parameters",
        len(train_dataset),
        len(sampler),
        100 * sampler.padding_share(),
        trainable,
    )
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    trainer.save_model(_internal_call=True)  # skips the upload: card and recipe are not written yet
    if trainer.is_world_process_zero():
        processor.save_pretrained(arguments.output_dir)
        if model_arguments.lora_rank:
            logger.info("adapter saved; `t5gemma-tts merge` merges it into the base model")
        recipe = {
            "options": options_of(model_arguments, data_arguments, arguments),
            "num_rows": len(train_dataset),
            "languages": train_dataset.languages,
        }
        Path(arguments.output_dir, RECIPE_FILE).write_text(json.dumps(recipe, indent=2, default=str) + "\n")
    if arguments.push_to_hub:
        trainer.push_to_hub()
    else:
        trainer.create_model_card()


def options_of(*groups) -> dict:
    """Returns all options of the run except secrets such as `hub_token`."""
    options = {}
    for group in groups:
        own = group.to_dict() if hasattr(group, "to_dict") else dataclasses.asdict(group)
        options |= {name: value for name, value in own.items() if "token" not in name or "tokens" in name}
    return dict(sorted(options.items()))
