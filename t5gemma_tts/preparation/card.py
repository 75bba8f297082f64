"""The dataset card."""

from huggingface_hub import DatasetCardData

from .assemble import Summary
from .metadata import METADATA_FILE, DatasetMetadata


SIZE_LIMITS = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]

COLUMNS = {
    "id": "name of the row",
    "text": "transcript",
    "codes": "audio codes, from 0 to below the codebook's size, without special tokens",
    "speaker": "name of the speaker, empty if unknown",
    "language": "`en`, `ja`, `zh`, or another tag",
    "num_frames": "number of codes",
    "duration_seconds": "length of the clip",
    "start_seconds": "where the clip starts in its source recording, null if unknown",
    "neighbors": "ids of rows that can be the reference of this one, as the original folder lists them",
    "neighbor_distances": "their distances, as the original folder has them",
    "codes_stretched": "codes of the clip at other speeds, same pitch",
}


def size_category(num_rows: int) -> str:
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
    Args:
        name (`str`): Of the dataset: Hub name or folder.
        summary (`Summary`)
        metadata (`DatasetMetadata`)
        columns (`list[str]`): That the dataset has.
        settings (`dict`): Of the preparation, for its last section.
        license (`str`, *optional*): Identifier of the recordings' licence; left out if unset.
        loader (`str`, *optional*): The function of `datasets` that loads it.

    Returns:
        `str`: Markdown with the Hub's YAML header.
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
    listen = ""
    if metadata.codec:
        listen = f"""
Heard again:

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

Speech as codes of the codec `{metadata.codec or "unknown"}` with transcripts, for training T5Gemma-TTS.
Codebook of {metadata.codebook_size} entries, {metadata.frame_rate:g} codes per second. The recordings are not included.

| split | rows | hours |
|---|---|---|
{splits}

Languages: {languages}. Speakers: {len(summary.speakers) or "unknown"}.

```python
from datasets import {loader}

dataset = {loader}("{name}")
```
{listen}
`training/train.py --datasets {name}` trains on it.

## Columns

{fields}

`{METADATA_FILE}` holds the codec's name, codebook size and frame rate for programs.

## How it was made

By `training/prepare_dataset.py`. Rows left out: {skipped}.

{options}

## Licence

{license or "None was stated: the terms of the recordings apply"}. Codes turn into sound again, so they are the voices
of those who spoke: use them as far as these agreed.
"""


def _readable(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
