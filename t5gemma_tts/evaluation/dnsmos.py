"""DNSMOS P.835 (Reddy et al., 2022): predicted speech quality from 1 to 5."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..model.audio import resample


RATE = 16000
WINDOW_SAMPLES = 144160  # 9.01 s
# polynomials that map model outputs to ratings, from Microsoft's DNSMOS repository
CALIBRATIONS = {
    "signal": np.poly1d([-0.08397278, 1.22083953, 0.0052439]),
    "background": np.poly1d([-0.13166888, 1.60915514, -0.39604546]),
    "overall": np.poly1d([-0.06766283, 1.11546468, 0.04602535]),
}


def load_dnsmos() -> Callable[[np.ndarray, float], dict[str, float]]:
    """
    Loads the DNSMOS model of the package speechmos.

    Returns:
        callable: takes a float32 waveform (num_samples,) and its sampling rate in Hz, returns the ratings "signal",
        "background" and "overall". Clips shorter than 9.01 s are repeated; for longer clips, ratings are averaged over
        windows with a hop of 1 s.

    Raises:
        ImportError: if speechmos or onnxruntime is missing.
    """
    found = importlib.util.find_spec("speechmos")
    if found is None or importlib.util.find_spec("onnxruntime") is None:
        raise ImportError("DNSMOS needs `pip install speechmos onnxruntime`.")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    network = onnxruntime.InferenceSession(
        str(Path(found.origin).parent / "dnsmos_models" / "sig_bak_ovr.onnx"), options
    )

    def rate(waveform: np.ndarray, sampling_rate: float) -> dict[str, float]:
        audio = resample(waveform, sampling_rate, RATE).clip(-1, 1).astype(np.float32)
        audio = np.tile(audio, -(-WINDOW_SAMPLES // len(audio))) if len(audio) < WINDOW_SAMPLES else audio
        windows = [audio[start : start + WINDOW_SAMPLES] for start in range(0, len(audio) - WINDOW_SAMPLES + 1, RATE)]
        raw = np.mean([network.run(None, {"input_1": window[None]})[0][0] for window in windows], axis=0)
        return {
            name: float(calibration(value))
            for (name, calibration), value in zip(CALIBRATIONS.items(), raw, strict=True)
        }

    return rate


__all__ = ["load_dnsmos"]
