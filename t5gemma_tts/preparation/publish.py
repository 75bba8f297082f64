"""Uploads a prepared dataset to the Hub."""

import tempfile
from pathlib import Path

import huggingface_hub
from datasets import DatasetDict

from .assemble import write_documents, write_parquet
from .metadata import DatasetMetadata


def push_dataset(
    splits: DatasetDict, repo_id: str, metadata: DatasetMetadata, card: str, output: Path, private: bool = False
) -> None:
    """
    Uploads Parquet files, card and metadata in one commit to a dataset repository, and creates it if necessary.

    Args:
        splits (`datasets.DatasetDict`)
        repo_id (`str`): Name of the dataset repository.
        metadata (`DatasetMetadata`)
        card (`str`): Dataset card.
        output (`Path`): Folder for temporary Parquet files.
        private (`bool`, *optional*, defaults to `False`): Whether a new repository is private.
    """
    with tempfile.TemporaryDirectory(prefix="upload-", dir=output) as folder:
        write_parquet(splits, Path(folder))
        write_documents(Path(folder), metadata, card)
        api = huggingface_hub.HfApi()
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=folder,
            # files of an earlier upload with more shards
            delete_patterns=["data/*.parquet"],
            commit_message="Prepared dataset",
        )
