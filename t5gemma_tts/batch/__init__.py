"""Resumable speech synthesis for all rows of a dataset, in this process or on a Ray cluster."""
