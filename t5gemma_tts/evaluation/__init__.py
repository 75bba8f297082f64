"""Evaluation of speech models: what they say, heard again, measured and reported."""
