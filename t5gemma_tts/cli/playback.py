"""Plays audio through a player that is installed, while it is generated where the player can."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from ..model.audio import Waveform


# they read a wav file of unknown length from standard input
STREAMING_PLAYERS = {
    "aplay": ("-q", "-"),
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "error", "-"),
    "mpv": ("--really-quiet", "-"),
    "play": ("-q", "-t", "wav", "--ignore-length", "-"),
}
FILE_PLAYERS = {"afplay": ()}  # macOS


def find_player() -> str:
    """
    The path of a player.

    Raises:
        OSError: if there is none.
    """
    for name in (*STREAMING_PLAYERS, *FILE_PLAYERS):
        if found := shutil.which(name):
            return found
    raise OSError(f"--play needs one of these programs: {', '.join((*STREAMING_PLAYERS, *FILE_PLAYERS))} (sox).")


class Playback:
    """
    Plays one waveform, as a context manager that waits until it has been heard.

    Args:
        player (`str`): from `find_player`.
        sampling_rate (`float`): Hz.
    """

    def __init__(self, player: str, sampling_rate: float):
        self.player, self.sampling_rate = player, int(sampling_rate)
        self._process: subprocess.Popen[bytes] | None = None
        self._kept: list[Waveform] = []

    def __enter__(self) -> "Playback":
        name = Path(self.player).stem
        if name in STREAMING_PLAYERS:
            command = [self.player, *STREAMING_PLAYERS[name]]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            from ..serving.formats import wav_header

            self._send(wav_header(self.sampling_rate))
        return self

    def write(self, samples: "Waveform") -> None:
        """Plays samples, float32 `(num_samples,)`."""
        if self._process is None:
            self._kept.append(samples)
        else:
            from ..serving.formats import to_pcm

            self._send(to_pcm(samples).tobytes())

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass  # the exit code tells
            code = self._process.wait()
        elif exception[0] is None and self._kept:
            import numpy as np

            from ..model.audio import save_audio

            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "speech.wav"
                save_audio(np.concatenate(self._kept), path, self.sampling_rate)
                code = subprocess.run([self.player, str(path)], check=False).returncode
        else:
            return
        if code and exception[0] is None:
            raise OSError(f"--play: {self.player!r} failed with exit code {code}.")

    def _send(self, data: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the player has ended; `__exit__` reports its exit code


__all__ = ["Playback", "find_player"]
