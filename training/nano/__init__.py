"""Training of the bundled model `nano`: corpus, tokenizer, initialization, packaging, evaluation."""
