"""Decoding in windows compared with decoding a whole clip: distance, seams and work, by context and window size.

    python benchmarks/streaming.py [--codec FOLDER] [--recordings FOLDER] [--json] [--quick]

Distance is the root mean square of the difference of the log spectra in dB, over audible frames. A seam is the energy
(dB) of the second difference of the waveform around a join, minus that of the whole-clip decoding at the same place; a
click raises it. Work is the number of decoded codes per code of output.
"""

import argparse
import sys
from pathlib import Path

import numpy as np


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import print_json, report  # noqa: E402


SPECTRUM, HOP = 512, 128
AUDIBLE_DB = 50  # below the loudest frame

CHOICES = [
    # first, max, left, right, fade
    (16, 250, 0, 0, 0.0),
    (16, 250, 10, 1, 0.5),
    (16, 250, 25, 2, 0.5),
    (16, 250, 25, 4, 0.5),
    (16, 250, 50, 4, 0.5),
    (16, 250, 50, 8, 0.5),
    (16, 250, 100, 8, 0.5),
    (16, 250, 50, 8, 0.0),
    (16, 250, 50, 8, 2.0),
    (8, 250, 50, 8, 0.5),
    (25, 250, 50, 16, 0.5),
    (16, 16, 50, 8, 0.5),
]


def log_spectrum(sound: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(sound, SPECTRUM)[::HOP] * np.hanning(SPECTRUM)
    return 10 * np.log10(np.abs(np.fft.rfft(frames)) ** 2 + 1e-7)


def distance(sound: np.ndarray, whole: np.ndarray) -> float:
    ours, theirs = log_spectrum(sound), log_spectrum(whole)
    loudness = theirs.max(-1)
    heard = loudness > loudness.max() - AUDIBLE_DB
    return float(np.sqrt(((ours - theirs)[heard] ** 2).mean()))


def seam(sound: np.ndarray, whole: np.ndarray, places: list[int]) -> list[float]:
    def roughness(signal, place):
        return 10 * np.log10(np.square(np.diff(signal[place - 16 : place + 16], n=2)).sum() + 1e-9)

    return [roughness(sound, place) - roughness(whole, place) for place in places if 16 < place < len(whole) - 16]


class CountingCodec:
    """A codec that knows how many codes it has decoded."""

    def __init__(self, codec):
        self.codec, self.decoded = codec, 0
        self.sampling_rate, self.frame_rate = codec.sampling_rate, codec.frame_rate

    def decode(self, codes) -> np.ndarray:
        self.decoded += len(codes)
        return self.codec.decode(codes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", help="hub name or folder (default: that of nano)")
    parser.add_argument("--recordings", help="folder of speech to encode (default: nano's samples)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two recordings")
    arguments = parser.parse_args()

    from t5gemma_tts.checkpoints import NANO
    from t5gemma_tts.loading import load_codec
    from t5gemma_tts.model.audio_reading import load_audio
    from t5gemma_tts.model.streaming import StreamDecoder, StreamWindows

    codec = load_codec(arguments.codec or str(NANO), "cpu")
    paths = sorted(Path(arguments.recordings or Path(NANO, "audio")).rglob("*.wav"))[: 2 if arguments.quick else 30]
    if not paths:
        raise SystemExit(f"no WAV files in {arguments.recordings or NANO / 'samples'}.")
    clips = [codec.encode(*load_audio(path)).tolist() for path in paths]
    wholes = [codec.decode(clip) for clip in clips]
    results = []
    for first, largest, left, right, fade in CHOICES:
        windows = StreamWindows(first, largest, 2.0, left, right, fade)
        distances, seams = [], []
        counter = CountingCodec(codec)
        for clip, whole in zip(clips, wholes, strict=True):
            decoder = StreamDecoder(counter, windows)
            pieces = [decoder.push([code]) for code in clip] + [decoder.finish()]
            sound = np.concatenate(pieces)
            distances.append(distance(sound, whole))
            joins = np.cumsum([len(piece) for piece in pieces if len(piece)])[:-1]
            seams += seam(sound, whole, joins.tolist())
        results.append(
            {
                "first_frames": first,
                "max_frames": largest,
                "left_context": left,
                "right_context": right,
                "fade_frames": fade,
                "distance_db": float(np.mean(distances)),
                "seam_db": float(np.mean(seams)),
                "worst_seam_db": float(np.max(seams)),
                "work": counter.decoded / sum(map(len, clips)),
            }
        )
    if arguments.json:
        print_json({"clips": len(clips), "windows": results})
        return
    header = tuple(results[0])
    report(
        f"{len(clips)} clips, {sum(map(len, clips)) / codec.frame_rate:.0f} s",
        [tuple(f"{value:.2f}" if isinstance(value, float) else value for value in row.values()) for row in results],
        header,
    )


if __name__ == "__main__":
    main()
