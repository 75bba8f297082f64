"""A synthetic voice for tests that needs no package; it produces sound without words."""

import numpy as np

from training.nano.voices import Voice


class Organ(Voice):
    """Speaks in tones: one for each letter, one sound for one spelling, between silences."""

    name = "organ"
    license, source = "CC0-1.0", "this test"
    sampling_rate = 22050
    loudness = 0.3

    def speak(self, text: str, seed: int, speed: float = 1.0) -> np.ndarray:
        time_of_tone = np.arange(int(0.05 * self.sampling_rate / speed)) / self.sampling_rate
        tones = [np.sin(2 * np.pi * (200 + 40 * (ord(letter) % 32)) * time_of_tone) for letter in text]
        noise = np.random.default_rng(seed).standard_normal(len(tones) * len(time_of_tone))
        silence = np.zeros(self.sampling_rate // 4)
        return np.concatenate([silence, self.loudness * (np.concatenate(tones) + 0.01 * noise), silence]).astype("f4")
