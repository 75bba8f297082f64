"""Dataset card of a prepared dataset."""

from huggingface_hub import DatasetCardData

from .assemble import Summary
from .metadata import METADATA_FILE, DatasetMetadata


SIZE_LIMITS = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]

COLUMNS = {
    "id": "unique id of the row",
    "text": "transcript",
    "codes": "audio codes in [0, codebook size), without special tokens",
    "speaker": "speaker name, empty if unknown",
    "language": "language tag such as `en`, `ja`, `zh`",
    "num_frames": "number of codes",
    "duration_seconds": "duration of the clip in seconds",
    "start_seconds": "start of the clip in its source recording in seconds, null if unknown",
    "neighbors": "ids of rows that can be references for this row, from the original folder",
    "neighbor_distances": "distances of the neighbors, from the original folder",
    "codes_stretched": "codes of the clip at other speeds with unchanged pitch",
}


def size_category(num_rows: int) -> str:
    """Returns the size category of the Hub for a number of rows."""
    return next((name for limit, name in SIZE_LIMITS if num_rows < limit), "n>1M")


def make_card(
    name: str,
    summary: Summary,
    metadata: DatasetMetadata,
    columns: list[str],
    settings: dict,
    license: str | None = None,
    loader: str = "load_from_disk",
) -> str:
    """
    Builds the dataset card.

    Args:
        name (`str`): Hub name or folder of the dataset.
        summary (`Summary`)
        metadata (`DatasetMetadata`)
        columns (`list[str]`): Column names of the dataset.
        settings (`dict`): Options of the preparation to list in the card.
        license (`str`, *optional*): Hub identifier of the license of the recordings.
        loader (`str`, *optional*, defaults to `"load_from_disk"`): Function of `datasets` that loads the dataset.

    Returns:
        `str`: Markdown with a YAML header.
    """
    known = sorted(tag for tag in summary.languages if 2 <= len(tag) <= 3)
    num_rows = sum(summary.num_rows.values())
    header = DatasetCardData(
        language=known or None,
        license=license,
        task_categories=["text-to-speech"],
        size_categories=[size_category(num_rows)],
        pretty_name=name.rsplit("/", 1)[-1],
        tags=["audio-codes", "xcodec2", "t5gemma-tts"],
    ).to_yaml()
    splits = "\n".join(f"| {split} | {rows} | {summary.hours[split]:.2f} |" for split, rows in summary.num_rows.items())
    languages = ", ".join(f"{language} ({rows} rows)" for language, rows in summary.languages.items())
    skipped = ", ".join(f"{reason}: {rows}" for reason, rows in summary.skipped.items()) or "none"
    fields = "\n".join(f"- `{column}`: {COLUMNS[column]}" for column in columns)
    if metadata.speed_factors:
        fields += f" ({', '.join(map(str, metadata.speed_factors))} times the recorded speed, in this order)"
    decode_example = ""
    if metadata.codec:
        decode_example = f"""
To decode a row to audio:

```python
from t5gemma_tts import XCodec2

codec = XCodec2.from_pretrained("{metadata.codec}")
waveform = codec.decode(dataset["{next(iter(summary.num_rows))}"][0]["codes"])  # float32, codec.sampling_rate Hz
```
"""
    options = "\n".join(
        f"- `{option}`: {_readable(value)}" for option, value in settings.items() if value not in (None, [], "")
    )
    return f"""---
{header}
---

# {name.rsplit("/", 1)[-1]}

Speech encoded by the codec `{metadata.codec or "unknown"}`, with transcripts, for training T5Gemma-TTS.
Codebook of {metadata.codebook_size} entries, {metadata.frame_rate:g} codes per second. The recordings are not included.

| split | rows | hours |
|---|---|---|
{splits}

Languages: {languages}. Speakers: {len(summary.speakers) or "unknown"}.

```python
from datasets import {loader}

dataset = {loader}("{name}")
```
{decode_example}
Use it for training with `training/train.py --datasets {name}`.

## Columns

{fields}

`{METADATA_FILE}` has the codec name, codebook size and frame rate in machine-readable form.

## Preparation

Created by `training/prepare_dataset.py`. Skipped rows: {skipped}.

{options}

## License

{license or "Not specified: the terms of the recordings apply"}. Codes can be decoded to the voices of the recorded
speakers: use them only as these speakers agreed.
"""


def _readable(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
