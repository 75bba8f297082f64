"""A prepared dataset on the Hub."""

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
    Uploads Parquet files, card and metadata in one commit to the dataset repository `repo_id`, which is made if it
    does not exist.

    Args:
        splits (`datasets.DatasetDict`)
        repo_id (`str`)
        metadata (`DatasetMetadata`)
        card (`str`)
        output (`Path`): Folder where the Parquet files are made; they are removed after the upload.
        private (`bool`, *optional*, defaults to `False`): Of a new repository.
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
            # of an earlier, larger upload
            delete_patterns=["data/*.parquet"],
            commit_message="Prepared dataset",
        )
