"""The command line `t5gemma-tts`."""
