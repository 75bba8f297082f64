"""Training scripts, recipes, and the pipeline of the bundled voice. The trainer is `t5gemma_tts.training`."""
