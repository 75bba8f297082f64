"""Trainers of a tiny model on synthetic rows."""

from pathlib import Path

from speech_data import speech_rows

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from t5gemma_tts.training.arguments import T5GemmaTTSTrainingArguments
from t5gemma_tts.training.dataset import SpeechDataset
from t5gemma_tts.training.prompts import PromptOptions
from t5gemma_tts.training.trainer import T5GemmaTTSTrainer


def arguments(folder: Path, **kwargs) -> T5GemmaTTSTrainingArguments:
    defaults = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "max_tokens_per_batch": 1500,
        "save_strategy": "no",
        "logging_steps": 1,
        "lr_scheduler_type": "constant",
    }
    return T5GemmaTTSTrainingArguments(**(defaults | kwargs))


def make_trainer(tiny_checkpoint: Path, folder: Path, wrap=None, trainer_kwargs=None, **kwargs) -> T5GemmaTTSTrainer:
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(tiny_checkpoint)
    processor = T5GemmaTTSProcessor.from_pretrained(tiny_checkpoint)
    config = model.config
    return T5GemmaTTSTrainer(
        wrap(model) if wrap else model,
        arguments(folder, **kwargs),
        SpeechDataset([speech_rows(80)], processor.tokenizer, config),
        SpeechDataset([speech_rows(12, seed=1)], processor.tokenizer, config),
        prompt_options=PromptOptions(prompt_min_seconds=0.1),
        processor=processor,
        **(trainer_kwargs or {}),
    )
