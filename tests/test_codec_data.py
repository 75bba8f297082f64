"""Data of codec training: recordings, the cache of waveforms, features and codes, and batches."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from codec_runs import new_codec, options, save_recordings, tone

from t5gemma_tts.codec_training.arguments import CodecDataArguments
from t5gemma_tts.codec_training.cache import build_cache
from t5gemma_tts.codec_training.data import list_recordings
from t5gemma_tts.codec_training.model import CodecForTraining
from t5gemma_tts.codec_training.segments import SegmentBatches
from t5gemma_tts.preparation.recordings import select_recordings
from training.train_codec import main


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return save_recordings(tmp_path_factory.mktemp("recordings"))


def cache_of(folder, data, codec, min_frames=16):
    return build_cache(folder, list_recordings(CodecDataArguments(data=[str(data)])), codec, min_frames)


def test_frozen_encoder_trains_on_the_codes_of_whole_clips(recordings, tmp_path):
    codec = new_codec()
    cache = cache_of(tmp_path, recordings, codec)
    cache.load_codes(codec)
    clip = cache.clips[1]
    segment = cache.segment(clip.start, clip.num_frames)
    audio, rate = soundfile.read(recordings / "1.wav", dtype="float32")
    np.testing.assert_array_equal(segment["codes"], codec.encode(audio, rate))
    np.testing.assert_array_equal(segment["target"][: len(audio)], audio)
    assert not segment["target"][len(audio) :].any()


def test_features_and_codes_are_those_of_encode(recordings, tmp_path):
    codec = new_codec()
    cache = cache_of(tmp_path, recordings, codec)
    clip = cache.split("validation")[0]
    segment = cache.segment(clip.start, clip.num_frames)
    audio, rate = soundfile.read(recordings / "5.wav", dtype="float32")
    expected = codec.encode(audio, rate)
    assert clip.num_frames == len(expected)
    batch = {name: torch.from_numpy(array)[None] for name, array in segment.items()}
    with torch.no_grad():
        trained = CodecForTraining(codec.model)
        _, codes, _ = trained.encode(batch["audio"], trained.semantic(batch["features"]))
    # features are kept in half precision
    assert float((codes[0] == expected).float().mean()) > 0.9


def test_cache_is_created_once_and_updated_for_changed_recordings(recordings, tmp_path):
    codec = new_codec()
    first = cache_of(tmp_path, recordings, codec)
    written = (first.folder / "audio.int16").stat().st_mtime_ns
    again = cache_of(tmp_path, recordings, codec)
    assert again.folder == first.folder and (again.folder / "audio.int16").stat().st_mtime_ns == written
    other = cache_of(tmp_path, save_recordings(tmp_path / "other", count=3), codec)
    assert other.folder != first.folder and len(other.clips) == 3


def test_other_rates_are_resampled(tmp_path):
    codec = new_codec()
    data = save_recordings(tmp_path / "data", count=2, sampling_rate=24000)
    cache = cache_of(tmp_path / "cache", data, codec)
    clip = cache.clips[0]
    assert clip.num_samples == pytest.approx(0.8 * 16000, abs=2)
    expected = tone(clip.num_samples, 0)
    error = cache.waveform(clip) - expected
    assert np.square(error[500:-500]).mean() < 1e-3 * np.square(expected).mean()


def test_batches_depend_only_on_seed_step_and_process(recordings, tmp_path):
    cache = cache_of(tmp_path, recordings, new_codec())
    clips = cache.split("train")
    one = SegmentBatches(cache, clips, [8, 16], 32, seed=5)
    other = SegmentBatches(cache, clips, [8, 16], 32, seed=5)
    [one(step) for step in range(3)]
    for step in (7, 3):
        assert torch.equal(one(step)["audio"], other(step)["audio"])
    second = SegmentBatches(cache, clips, [8, 16], 32, seed=5, process_index=1)
    shapes = [(one(step)["audio"].shape, second(step)["audio"].shape) for step in range(8)]
    assert all(ours == theirs for ours, theirs in shapes) and len(set(shapes)) == 2
    assert not torch.equal(one(0)["audio"], second(0)["audio"])


def test_segments_stay_inside_their_clips(recordings, tmp_path):
    cache = cache_of(tmp_path, recordings, new_codec())
    clips = cache.split("train")
    longest = max(clip.num_frames for clip in clips)
    batches = SegmentBatches(cache, clips, [longest], 4 * longest, seed=0)
    clip = next(clip for clip in clips if clip.num_frames == longest)
    expected = torch.from_numpy(cache.segment(clip.start, longest)["target"])
    assert all(torch.equal(row, expected) for row in batches(0)["target"])


def test_invalid_recordings(tmp_path, recordings):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(options(tmp_path / "nowhere", tmp_path / "out"))
    data = save_recordings(tmp_path / "nan", count=3)
    bad = tone(16000, 0)
    bad[77] = np.nan
    soundfile.write(data / "1.wav", bad, 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"1\.wav.*NaN"):
        main(options(data, tmp_path / "out"))
    assert not list((tmp_path / "out" / "cache").glob("*"))
    short = save_recordings(tmp_path / "short", count=3, seconds=0.1)
    with pytest.raises(ValueError, match=r"none of the 3 clips is long enough.*16"):
        main(options(short, tmp_path / "out"))


def test_short_clips_are_left_out_with_a_warning(tmp_path, caplog):
    data = save_recordings(tmp_path / "data", count=4)
    soundfile.write(data / "2.wav", tone(1000, 0), 16000)
    cache = cache_of(tmp_path / "cache", data, new_codec())
    assert [clip.id for clip in cache.clips] == ["clip-0", "clip-1", "clip-3"]
    assert "2.wav" in caplog.text


def test_rows_by_split_and_speaker(tmp_path):
    data = save_recordings(tmp_path / "data", count=6)
    rows = [
        (f"{number}.wav", f"clip-{number}", "Tone.", split, speaker)
        for number, (split, speaker) in enumerate(
            [("train", "a"), ("train", "b"), ("test", "a"), ("train", "a"), ("validation", "a"), ("", "b")]
        )
    ]
    with open(data / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file_name", "id", "text", "split", "speaker"), *rows])

    def listed(**changes):
        found = list_recordings(CodecDataArguments(data=[str(data)], **changes))
        return {recording.id[-1]: recording.split for recording in found}

    assert listed() == {"0": "train", "1": "train", "3": "train", "4": "validation", "5": "train"}
    assert listed(max_clips_per_speaker=1) == {"0": "train", "1": "train", "4": "validation"}
    assert listed(validation_split="test")["2"] == "validation" and "4" not in listed(validation_split="test")
    assert [recording.id for recording in select_recordings([str(data)], "test")] == ["clip-2", "clip-5"]
    with pytest.raises(ValueError, match="validation_count"):
        listed(validation_count=1)


def test_rows_without_splits(tmp_path):
    data, other = save_recordings(tmp_path / "data", count=4), save_recordings(tmp_path / "other", count=2)
    for folder in (data, other):
        lines = (folder / "metadata.csv").read_text().splitlines()
        (folder / "metadata.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines) + "\n")
    held_out = list_recordings(CodecDataArguments(data=[str(data)], validation_count=1))
    assert sorted(recording.split for recording in held_out) == ["train", "train", "train", "validation"]
    both = list_recordings(CodecDataArguments(data=[str(data)], validation_data=[str(other)]))
    assert [recording.split for recording in both] == ["train"] * 4 + ["validation"] * 2
