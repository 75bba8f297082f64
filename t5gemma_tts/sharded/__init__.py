"""Resumable processing of a dataset in shards, in this process or on a Ray cluster."""
