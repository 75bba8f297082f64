"""DNSMOS: how good speech sounds, 1 to 5, as a network judges that was trained on human ratings."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..model.audio import resample


RATE = 16000
WINDOW_SAMPLES = 144160  # 9.01 s
# from the network's scale to ratings
CALIBRATIONS = {
    "signal": np.poly1d([-0.08397278, 1.22083953, 0.0052439]),
    "background": np.poly1d([-0.13166888, 1.60915514, -0.39604546]),
    "overall": np.poly1d([-0.06766283, 1.11546468, 0.04602535]),
}


def load_dnsmos() -> Callable[[np.ndarray, float], dict[str, float]]:
    """
    The network of `pip install speechmos onnxruntime`, without that package's code.

    Returns:
        a function of (float32 waveform (num_samples,), Hz) that returns "signal", "background" and "overall". Clips
        shorter than 9.01 s are repeated, of longer ones a window starts every second.

    Raises:
        ImportError: if one of the packages is missing.
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
