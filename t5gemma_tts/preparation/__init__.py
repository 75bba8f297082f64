"""Preparation of training datasets: encodes recordings to audio codes, or imports folders of the original project."""
