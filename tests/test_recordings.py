"""Recordings in the formats that phones, browsers and editors write, as references."""

import io
import sys
import wave
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from recordings import all_rows, prepare
from voices import codes_of, voice

from t5gemma_tts.model.audio_reading import load_audio
from t5gemma_tts.model.xcodec2 import XCodec2
from t5gemma_tts.serving.errors import BadRequest
from t5gemma_tts.serving.limits import Limits
from t5gemma_tts.serving.uploads import decode_recording


RATE = 16000
SOUND = voice(16000)
LIBSNDFILE = {  # name: format, subtype
    "wav 8 bit": ("WAV", "PCM_U8"),
    "wav 16 bit": ("WAV", "PCM_16"),
    "wav 24 bit": ("WAV", "PCM_24"),
    "wav 32 bit": ("WAV", "PCM_32"),
    "wav float": ("WAV", "FLOAT"),
    "wav double": ("WAV", "DOUBLE"),
    "wav u-law": ("WAV", "ULAW"),
    "wav a-law": ("WAV", "ALAW"),
    "wav ms adpcm": ("WAV", "MS_ADPCM"),
    "wav ima adpcm": ("WAV", "IMA_ADPCM"),
    "wav gsm": ("WAV", "GSM610"),
    "wav extensible": ("WAVEX", "PCM_16"),
    "wav rf64": ("RF64", "PCM_16"),
    "wav w64": ("W64", "PCM_24"),
    "aiff": ("AIFF", "PCM_24"),
    "caf": ("CAF", "PCM_16"),
    "caf alac": ("CAF", "ALAC_16"),
    "au": ("AU", "PCM_16"),
    "flac": ("FLAC", "PCM_24"),
    "ogg vorbis": ("OGG", "VORBIS"),
    "ogg opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
FFMPEG = {  # name: container, codec, sampling rate
    "m4a aac": ("ipod", "aac", 44100),
    "m4a alac": ("ipod", "alac", 16000),
    "mp4 aac": ("mp4", "aac", 48000),
    "3gp aac": ("3gp", "aac", 16000),
    "adts aac": ("adts", "aac", 16000),
    "webm opus": ("webm", "libopus", 48000),
    "wavpack": ("wv", "wavpack", 44100),
    "mka flac": ("matroska", "flac", 96000),
    "mp3 in wav": ("wav", "libmp3lame", 44100),
    "wma": ("asf", "wmav2", 44100),
    "mp2": ("mp2", "mp2", 48000),
    "ac3": ("ac3", "ac3", 48000),
    "mpegts": ("mpegts", "aac", 48000),
    "avi": ("avi", "pcm_s16le", 16000),
    "amr": ("amr", "libopencore_amrnb", 8000),
    "flac 96 kHz": ("flac", "flac", 96000),
}


def by_libsndfile(audio_format: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SOUND, RATE, format=audio_format, subtype=subtype)
    return file.getvalue()


def by_ffmpeg(container: str, codec: str, rate: int, with_video: bool = False) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        if with_video:
            video = output.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        audio = output.add_stream(codec, rate=rate, layout="mono")
        audio.bit_rate = 12_200 if container == "amr" else 64_000
        frame = av.AudioFrame.from_ndarray((SOUND * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        frame.pts, frame.time_base = 0, Fraction(1, RATE)
        for resampled in av.AudioResampler(audio.codec_context.format, "mono", rate).resample(frame):
            output.mux(audio.encode(resampled))
        output.mux(audio.encode(None))
        if with_video:
            for _ in range(10):
                output.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
            output.mux(video.encode(None))
    return file.getvalue()


def pipe_written(size: int) -> bytes:
    """A wav as programs write it that do not know its length beforehand."""
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setparams((1, 2, RATE, 0, "NONE", ""))
        output.writeframes((SOUND * 32767).astype("<i2").tobytes())
    data = bytearray(file.getvalue())
    data[4:8] = data[40:44] = size.to_bytes(4, "little")
    return bytes(data)


RECORDINGS = (
    {name: by_libsndfile(*how) for name, how in LIBSNDFILE.items()}
    | {name: by_ffmpeg(*how) for name, how in FFMPEG.items()}
    | {
        "wav from a pipe": pipe_written(0xFFFFFFFF),
        "wav from a pipe, length 0": pipe_written(0),
        "video mp4": by_ffmpeg("mp4", "aac", 44100, with_video=True),
        "video mkv": by_ffmpeg("matroska", "libopus", 48000, with_video=True),
    }
)


def decoded_by_ffmpeg(data: bytes) -> tuple[np.ndarray, int]:
    """float32 mono and Hz, converted by FFmpeg itself."""
    with av.open(io.BytesIO(data)) as container:
        resampler = av.AudioResampler("flt", "mono")
        frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate


@pytest.mark.parametrize("name", RECORDINGS)
def test_codes_equal_those_of_the_decoded_wav(processor, tmp_path, name):
    data = RECORDINGS[name]
    read_by_libsndfile = name in LIBSNDFILE or name.startswith(("mp2", "flac"))
    if read_by_libsndfile:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    else:
        samples, rate = decoded_by_ffmpeg(data)
    assert abs(len(samples) / rate - 1.0) < 0.15
    plain = tmp_path / "decoded.wav"
    soundfile.write(plain, samples, rate, subtype="FLOAT")
    (tmp_path / "recording").write_bytes(data)
    codes = {
        form: codes_of(processor("Text", reference_audio=audio, reference_text="Ref", duration=1.0))
        for form, audio in {
            "decoded": plain,
            "path": tmp_path / "recording",
            "bytes": data,
            "file": io.BytesIO(data),
            "datasets": {"bytes": data, "path": None},
        }.items()
    }
    assert len(codes["decoded"]) > 45
    for form in ("path", "bytes", "file", "datasets"):
        assert codes[form] == codes["decoded"], form


@pytest.mark.parametrize("name", ["wav 16 bit", "wav 24 bit", "wav 32 bit", "wav float", "wav 8 bit", "aiff", "flac"])
def test_both_decoders_give_the_same_samples(name, monkeypatch):
    expected, rate = load_audio(RECORDINGS[name])

    def refusing(*arguments, **options):
        raise soundfile.LibsndfileError(1)

    monkeypatch.setattr(soundfile, "SoundFile", refusing)
    samples, other_rate = load_audio(RECORDINGS[name])
    assert rate == other_rate == RATE
    np.testing.assert_array_equal(samples, expected)


def refused_file(name: str, folder) -> bytes:
    secret = folder / "secret.wav"
    secret.write_bytes(RECORDINGS["wav 16 bit"])
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile {secret.name}\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
        "text": "not audio at all\n" * 100,
        "video without sound": silent_video(),
        "half a header": RECORDINGS["wav 16 bit"][:30],
        "empty": b"",
    }[name]


def silent_video() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        video = output.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        output.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
        output.mux(video.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("name", ["hls", "concat", "sdp", "text", "video without sound", "half a header", "empty"])
def test_what_is_refused(tmp_path, monkeypatch, name):
    """Playlists, too: they would make FFmpeg open the files and addresses that they name."""
    monkeypatch.chdir(tmp_path)
    data = refused_file(name, tmp_path)
    data = data.encode() if isinstance(data, str) else data
    path = tmp_path / "recording"
    path.write_bytes(data)
    for audio in (path, data):
        with pytest.raises(ValueError, match="cannot be decoded: soundfile says: .*; PyAV"):
            load_audio(audio)


def test_names_are_not_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:a").write_bytes(RECORDINGS["m4a aac"])
    assert len(load_audio("concat:a")[0]) > 40000


def test_damaged_packets_are_counted():
    data = bytearray(RECORDINGS["adts aac"])
    data[3000:3040] = bytes(40)
    with pytest.warns(UserWarning, match=r"\d+ of \d+ packets of the audio are damaged"):
        samples, rate = load_audio(bytes(data))
    assert 0.5 * rate < len(samples) < len(load_audio(RECORDINGS["adts aac"])[0])


def test_without_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"soundfile says: .*; PyAV is not installed \(`pip install av`\)"):
        load_audio(RECORDINGS["webm opus"])
    assert len(load_audio(RECORDINGS["flac"])[0]) == RATE


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self, data: bytes):
        self._data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._data.readinto(buffer)


def test_file_objects(tmp_path):
    data = RECORDINGS["m4a aac"]
    expected, _ = load_audio(data)
    read_before = io.BytesIO(data)
    read_before.read()
    for file in (Pipe(data), read_before, bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(load_audio(file)[0], expected)
    (tmp_path / "a.txt").write_text("text")
    with open(tmp_path / "a.txt") as text, pytest.raises(ValueError, match="must be open in binary mode; it reads str"):
        load_audio(text)
    with pytest.raises(ValueError, match="must be a path, bytes or a binary file object, got int"):
        load_audio(5)


class Decoder:
    """As torchcodec's AudioDecoder, and that of `datasets`."""

    def get_all_samples(self):
        return SimpleNamespace(data=torch.from_numpy(np.stack([SOUND, SOUND])), sample_rate=RATE)


def test_datasets_dicts_and_decoders(processor, tmp_path):
    options = {"reference_text": "Ref", "duration": 1.0}
    expected = codes_of(processor("Text", reference_audio=SOUND, sampling_rate=RATE, **options))
    path = tmp_path / "a.wav"
    soundfile.write(path, SOUND, RATE, subtype="FLOAT")
    for audio in (
        Decoder(),
        {"path": str(path), "bytes": None},
        {"path": "elsewhere.wav", "bytes": path.read_bytes()},
        {"path": str(path), "array": SOUND, "sampling_rate": RATE},
    ):
        assert codes_of(processor("Text", reference_audio=audio, **options)) == expected
    for row in Dataset.from_dict({"audio": [str(path)]}).cast_column("audio", Audio(decode=False)):
        assert codes_of(processor("Text", reference_audio=row["audio"], **options)) == expected
    with pytest.raises(ValueError, match=r"`reference_audio\['path'\]` must be a path, got None"):
        processor("Text", reference_audio={"path": None, "bytes": None}, **options)


@pytest.mark.parametrize("name", ["m4a aac", "webm opus", "video mp4", "amr"])
def test_uploads_read_them_too(name):
    waveform, rate = decode_recording(RECORDINGS[name], Limits())
    expected, expected_rate = load_audio(RECORDINGS[name])
    assert rate == expected_rate
    np.testing.assert_array_equal(waveform, expected)


def test_data_preparation_reads_them_too(tmp_path, codec):
    for name, suffix in (("m4a aac", ".m4a"), ("webm opus", ".webm"), ("amr", ".amr")):
        (tmp_path / f"{suffix[1:]}{suffix}").write_bytes(RECORDINGS[name])
        (tmp_path / f"{suffix[1:]}.txt").write_text("Words.")
    prepare(tmp_path, tmp_path / "out", codec)
    rows = all_rows(tmp_path / "out")
    assert sorted(rows) == ["amr", "m4a", "webm"]
    reference = XCodec2.from_pretrained(codec)
    assert rows["m4a"]["codes"] == reference.encode(*load_audio(RECORDINGS["m4a aac"])).tolist()


@pytest.mark.parametrize("name", ["m4a aac", "mp4 aac", "webm opus", "mka flac", "amr", "avi", "mpegts", "caf alac"])
@pytest.mark.filterwarnings("ignore:.* packets of the audio are damaged")
def test_damaged_files_are_refused_or_read(name):
    random = np.random.default_rng(0)
    whole = np.frombuffer(RECORDINGS[name], np.uint8)
    num_refused = 0
    for number in range(60):
        damaged = whole.copy()
        if number % 2:
            damaged[random.integers(0, min(len(whole), 600), 8)] = random.integers(0, 256, 8)
        else:
            damaged = damaged[: random.integers(1, len(whole))]
        try:
            waveform, _ = decode_recording(damaged.tobytes(), Limits())
        except BadRequest:
            num_refused += 1
            continue
        assert np.isfinite(waveform).all()
    assert num_refused
