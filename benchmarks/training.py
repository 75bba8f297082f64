"""Training against a plain loop: memory and time of head and loss, and of a whole step.

    python benchmarks/training.py [--json] [--quick]

The plain loop is what one writes first: full logits in float32, torch's AdamW as it comes. Ours is what the Trainer
does: chunked loss over counted tokens, selective checkpointing, fused AdamW. Both run the same model on the same clips,
each in a process of its own, in turns; medians are shown. Memory is what is alive beyond the loaded model (gradients
and Adam's two moments included), measured in runs whose times do not count.
"""

import argparse
import sys
import time
from pathlib import Path

import torch


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import LIVE_MEMORY_ONLY, PeakMemory, in_own_process, interleaved, median, print_json, report  # noqa: E402
from benchmarks.models import CODEBOOK_SIZE, HIDDEN_SIZE, bb_model  # noqa: E402


def head_and_loss(ours: bool, num_tokens: int) -> dict:
    """One forward and backward pass of the last Linear and the loss; its weight gradient is counted."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    from t5gemma_tts.model.chunked_loss import chunked_cross_entropy

    head = torch.nn.Linear(HIDDEN_SIZE, CODEBOOK_SIZE + 5)
    hidden = torch.randn(num_tokens, HIDDEN_SIZE, requires_grad=True)
    targets = torch.randint(0, CODEBOOK_SIZE, (num_tokens,))
    with PeakMemory() as memory:
        start = time.process_time()
        if ours:
            loss = chunked_cross_entropy(hidden, head, targets, torch.ones(num_tokens))[0] / num_tokens
        else:
            loss = torch.nn.functional.cross_entropy(head(hidden).float(), targets)
        loss.backward()
        seconds = time.process_time() - start
    return {"bytes": memory.extra, "seconds": seconds, "loss": loss.item()}


def clips(count: int, num_frames: int) -> list[dict]:
    """Samples of `num_frames` audio tokens each, half of them with a reference that takes 40 % of it."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for number in range(count):
        prompt = num_frames * 2 // 5 if number % 2 else 0
        codes = torch.randint(0, CODEBOOK_SIZE, (num_frames,), generator=generator).numpy()
        text = torch.randint(3, 4000, (40,), generator=generator).tolist()
        sample = {"input_ids": text, "codes": codes[prompt:]}
        if prompt:
            sample |= {"prompt_input_ids": text[:16], "prompt_codes": codes[: prompt - 1]}
        samples.append(sample)
    return samples


def training_step(ours: bool, layers: int, count: int, num_frames: int, steps: int) -> dict:
    """Whole steps: forward, backward, clipping, optimiser."""
    torch.set_num_threads(1)
    from t5gemma_tts.training.activation_checkpointing import enable_selective_checkpointing
    from t5gemma_tts.training.dataset import SpeechCollator

    model = bb_model(layers)
    if ours:
        enable_selective_checkpointing(model)
    batch = SpeechCollator(model.config)(clips(count, num_frames))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, **({"fused": True} if ours else {}))
    tokens = int(batch["decoder_attention_mask"].sum())
    seconds = []
    with PeakMemory() as memory:
        for _ in range(steps):
            start = time.process_time()
            if ours:
                loss = model(**batch, skip_logits=True, use_cache=False).loss
            else:
                logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits.float()
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.process_time() - start)
    return {"bytes": memory.extra, "tokens_per_second": tokens / min(seconds), "loss": loss.item()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer tokens, layers and repeats")
    arguments = parser.parse_args()
    repeats = 1 if arguments.quick else 3
    num_tokens, layers, count, num_frames = (500, 2, 2, 200) if arguments.quick else (2000, 12, 4, 500)

    def in_turns(function, *options, environment=None, repeats=repeats):
        calls = {
            name: lambda ours=ours: in_own_process(function, ours, *options, environment=environment)
            for name, ours in (("plain", False), ("ours", True))
        }
        return interleaved(calls, repeats)

    loss = in_turns(head_and_loss, num_tokens)
    step = in_turns(training_step, layers, count, num_frames, 3)
    step_memory = in_turns(training_step, layers, count, num_frames, 2, environment=LIVE_MEMORY_ONLY, repeats=1)
    figures = {
        "loss": {
            "memory_ratio": median(loss["ours"], "bytes") / median(loss["plain"], "bytes"),
            "time_ratio": median(loss["ours"], "seconds") / median(loss["plain"], "seconds"),
        },
        "step": {
            "throughput_ratio": median(step["ours"], "tokens_per_second") / median(step["plain"], "tokens_per_second"),
            "memory_ratio": median(step_memory["ours"], "bytes") / median(step_memory["plain"], "bytes"),
            "resident_memory_ratio": median(step["ours"], "bytes") / median(step["plain"], "bytes"),
        },
    }
    if arguments.json:
        print_json(figures)
        return
    report(
        f"head and loss, {num_tokens} tokens x {CODEBOOK_SIZE + 5} outputs (CPU time of one thread)",
        [
            (name, f"{median(r, 'bytes') / 1e6:.0f}", f"{median(r, 'seconds'):.2f}", f"{r[0]['loss']:.5f}")
            for name, r in loss.items()
        ]
        + [("ours / plain", f"{figures['loss']['memory_ratio']:.2f}", f"{figures['loss']['time_ratio']:.2f}", "")],
        ("", "extra MB", "seconds", "loss"),
    )
    ratios = figures["step"]
    report(
        f"whole step, {layers} + {layers} layers, {count} x {num_frames} audio tokens (CPU time of one thread)",
        [
            (
                name,
                f"{median(step_memory[name], 'bytes') / 1e6:.0f}",
                f"{median(runs, 'bytes') / 1e6:.0f}",
                f"{median(runs, 'tokens_per_second'):.1f}",
                f"{runs[0]['loss']:.5f}",
            )
            for name, runs in step.items()
        ]
        + [
            (
                "ours / plain",
                f"{ratios['memory_ratio']:.2f}",
                f"{ratios['resident_memory_ratio']:.2f}",
                f"{ratios['throughput_ratio']:.2f}",
                "",
            )
        ],
        ("", "extra MB alive", "with the heap's holes", "tokens/s", "loss"),
    )


if __name__ == "__main__":
    main()
