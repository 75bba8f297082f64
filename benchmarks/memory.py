"""Peak memory of each option, while loading and while speaking.

    python benchmarks/memory.py [--json] [--quick] [--threads 1]

The model has the shape of t5gemma-b-b and random weights, the codec is nano's. Each row is a separate process, which
loads from a folder as users do. Sizes are resident memory above that of Python and the imports.
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import (  # noqa: E402
    LIVE_MEMORY_ONLY,
    PeakMemory,
    in_own_process,
    print_json,
    report,
    resident_bytes,
)
from benchmarks.models import bb_model  # noqa: E402


STORED_INT8 = "int8, saved as such"
STORED_HALF = "float32, saved in half precision"
FOLDERS = {STORED_INT8: "int8", STORED_HALF: "half"}  # the other options use a float32 checkpoint
OPTIONS = {
    "float32": {},
    STORED_HALF: {"dtype": "float32"},
    "float32, `pack_weights = False`": {"pack_weights": False},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantization": "int8"},
    STORED_INT8: {},
}
if importlib.util.find_spec("torchao"):
    OPTIONS["torchao-int8"] = {"quantization": "torchao-int8"}


def speaking(folder: str, num_frames: int, threads: int, options: dict) -> dict:
    """Peak memory in bytes above the start: while loading the model, and while speaking one text."""
    import torch

    from t5gemma_tts import SpeechEngine, speech_requests
    from t5gemma_tts.loading import load_model

    torch.set_num_threads(threads)
    before = resident_bytes()
    with PeakMemory() as memory:
        model = load_model(folder, "cpu", **{name: value for name, value in options.items() if name != "pack_weights"})
    loading = memory.extra
    model.pack_weights = options.get("pack_weights", True)
    text = torch.randint(3, 4000, (1, 40), generator=torch.Generator().manual_seed(0))
    requests = speech_requests(model, input_ids=text, num_frames=[num_frames], seed=0)
    with PeakMemory() as memory:
        list(SpeechEngine(model, 1).run(requests))
    return {"loading": loading, "speaking": memory.peak - before}


def decoding(seconds: int, in_windows: bool, threads: int) -> dict:
    """Peak in bytes above the codec's weights."""
    import torch

    from t5gemma_tts import StreamWindows
    from t5gemma_tts.checkpoints import NANO
    from t5gemma_tts.loading import load_processor

    torch.set_num_threads(threads)
    processor = load_processor(NANO, codec_device="cpu")
    windows = StreamWindows() if in_windows else None
    processor.batch_decode([[1, 2, 3]], windows=windows)
    codes = torch.randint(0, processor.codec.codebook_size, (int(seconds * processor.frame_rate),)).tolist()
    with PeakMemory() as memory:
        processor.batch_decode([codes], windows=windows)
    return {"decoding": memory.extra}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a model of two layers and short sounds, under a minute")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    import torch

    from t5gemma_tts.loading import load_model

    layers, frames, lengths = (2, 10, (10,)) if arguments.quick else (12, 100, (60, 600))
    with tempfile.TemporaryDirectory() as folder:
        model = bb_model(layers, extra_cutoff_seconds=0.0).eval()
        model.save_pretrained(f"{folder}/float32")
        model.to(torch.bfloat16).save_pretrained(f"{folder}/half")
        del model
        load_model(f"{folder}/float32", "cpu", quantization="int8").save_pretrained(f"{folder}/int8")
        spoken = {
            name: in_own_process(
                speaking,
                f"{folder}/{FOLDERS.get(name, 'float32')}",
                frames,
                arguments.threads,
                options,
                environment=LIVE_MEMORY_ONLY,
            )
            for name, options in OPTIONS.items()
        }
    decoded = {
        f"{seconds} s {'in windows' if in_windows else 'whole'}": in_own_process(
            decoding, seconds, in_windows, arguments.threads, environment=LIVE_MEMORY_ONLY
        )
        for seconds in lengths
        for in_windows in (False, True)
    }
    if arguments.json:
        print_json({"model": spoken, "codec": decoded})
        return
    report(
        f"t5gemma-b-b, {layers} layers: MB",
        [(name, *(f"{result[key] / 1e6:.0f}" for key in ("loading", "speaking"))) for name, result in spoken.items()],
        ("", "peak while loading", "peak while speaking"),
    )
    report(
        "nano's codec: MB",
        [(name, f"{result['decoding'] / 1e6:.0f}") for name, result in decoded.items()],
        ("", "peak while decoding"),
    )


if __name__ == "__main__":
    main()
