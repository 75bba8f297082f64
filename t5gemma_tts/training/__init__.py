"""Training of T5Gemma-TTS: the trainer, its arguments, optimiser, datasets and collator."""
