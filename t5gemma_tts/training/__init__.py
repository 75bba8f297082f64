"""Training of T5Gemma-TTS: trainer, arguments, optimizer, datasets and collator."""
