"""Evaluation of speech models: generates test lists, computes metrics and writes reports."""
