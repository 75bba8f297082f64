"""Speaking: this project's decode step, engine and streams against the plain loop one writes first.

    python benchmarks/inference.py [--json] [--quick] [--threads 1]

The model has the shape of t5gemma-b-b and random weights; `--json` gives the ratios, ours / plain. What each figure
means stands in `benchmarks/README.md`. All variants take turns in one process, so that a busy machine slows all alike;
medians are shown.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median as median_of

import torch


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import PeakMemory, interleaved, median, print_json, report  # noqa: E402
from benchmarks.models import bb_model  # noqa: E402


TEXT_TOKENS = 40
OURS = ("float32", "float32_of_half", "int8")
SAMPLING = {"do_sample": True, "temperature": 0.8, "top_k": 30, "top_p": 0.9}


def plain_loop(model, inputs: dict, num_frames: int) -> int:
    """
    One text at a time: the layers of transformers with eager attention, a cache that is copied as it grows, and a
    filter that sorts the whole vocabulary.
    """
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    text = inputs["input_ids"]
    encoder_outputs = model.get_encoder()(input_ids=text, attention_mask=torch.ones_like(text))
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    tokens = torch.tensor([[model.config.decoder_start_token_id]])
    for step in range(num_frames):
        logits = model(
            encoder_outputs=encoder_outputs,
            attention_mask=torch.ones_like(text),
            decoder_input_ids=tokens[:, -1:],
            decoder_attention_mask=torch.ones_like(tokens),
            decoder_position_ids=torch.tensor([[step / num_frames * model.config.progress_scale]]),
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        scores = logits / SAMPLING["temperature"]
        scores = scores.masked_fill(scores < scores.topk(SAMPLING["top_k"]).values[:, -1:], -torch.inf)
        ordered, order = scores.sort(descending=True)
        mass_before = torch.nn.functional.pad(ordered.softmax(-1).cumsum(-1)[:, :-1], (1, 0))
        scores = scores.scatter(1, order, ordered.masked_fill(mass_before > SAMPLING["top_p"], -torch.inf))
        tokens = torch.cat([tokens, torch.multinomial(scores.softmax(-1), 1)], dim=-1)
    return num_frames


def engine_run(model, lengths: list[int]) -> int:
    from t5gemma_tts import SpeechEngine

    requests = requests_of(model, lengths)
    return sum(len(request.token_ids) - 1 for request in SpeechEngine(model, 16).run(requests))  # without the end


def requests_of(model, lengths: list[int]) -> list:
    from t5gemma_tts import speech_requests

    texts = torch.randint(3, 4000, (len(lengths), TEXT_TOKENS), generator=torch.Generator().manual_seed(0))
    return speech_requests(model, input_ids=texts, num_frames=lengths, seed=0, **SAMPLING)


def delay(model, short: int, count: int) -> dict:
    """Seconds until `count` texts of `short` frames have ended, alone and beside as many that are ten times as long."""
    from t5gemma_tts import SpeechEngine

    def last_of_the_short(lengths: list[int]) -> float:
        requests = requests_of(model, lengths)
        engine = SpeechEngine(model, 2 * count)
        waiting = {request for request in requests if request.num_frames == short}
        start = time.perf_counter()
        for request in requests:
            engine.submit(request)
        while waiting:
            waiting -= {request for request in engine.step(shortest_first=True) if request.finished}
        return time.perf_counter() - start

    alone = last_of_the_short([short] * count)
    return {"ratio": last_of_the_short([short, 10 * short] * count) / alone}


def step_speed(model, lengths: tuple[int, ...], steps: int) -> dict:
    """Tokens per second of one row after so many frames, in turns."""
    step = model.decode_step()
    with torch.no_grad():
        places = {length: place_after(model, length, steps) for length in lengths}
        seconds: dict[int, list[float]] = {length: [] for length in lengths}
        for _ in range(steps):
            for length, slots in places.items():
                start = time.perf_counter()
                step.logits(step(torch.tensor([1]), torch.tensor([1.0]), slots))
                seconds[length].append(time.perf_counter() - start)
    return {"ratio": median_of(seconds[lengths[0]]) / median_of(seconds[lengths[1]])}


def place_after(model, num_frames: int, room: int):
    """One row that has said so much and has room for more."""
    from t5gemma_tts.model.cache import SpeechCache
    from t5gemma_tts.model.slots import DecodeSlots

    config = model.config.backbone.decoder
    text, said = ((1, config.num_key_value_heads, length, config.head_dim) for length in (TEXT_TOKENS, num_frames))
    cache = SpeechCache(config.num_hidden_layers, capacity=num_frames)
    for index in range(config.num_hidden_layers):
        cache.self_attention_cache.update(torch.randn(said), torch.randn(said), index)
    slots = DecodeSlots(config.num_hidden_layers)
    slots.add([(torch.randn(text), torch.randn(text))] * config.num_hidden_layers, cache, num_frames + room + 2)
    slots.activate(1)
    return slots


def timed(function, *arguments) -> dict:
    with PeakMemory() as memory, torch.no_grad():
        start = time.perf_counter()
        tokens = function(*arguments)
        seconds = time.perf_counter() - start
    return {"tokens_per_second": tokens / seconds, "bytes": memory.extra, "seconds": seconds}


def ratio(results: dict, name: str, key: str = "tokens_per_second") -> float:
    """The median of the ratios of neighbours in time."""
    pairs = zip(results[name], results["plain loop"], strict=True)
    return sorted(ours[key] / plain[key] for ours, plain in pairs)[len(results[name]) // 2]


def bytes_per_token(model) -> int:
    """Weights that one token reads: decoder and head, of the embedding nothing to speak of."""
    layers = sum(p.numel() * p.element_size() for p in model.get_decoder().layers.parameters())
    return layers + sum(p.numel() * p.element_size() for p in model.audio_head.parameters())


def memory_speed() -> float:
    """Bytes per second that this machine reads, now, with these threads."""
    numbers = torch.ones(2**26)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - start)
    return numbers.numel() * 4 / min(seconds)


def models(layers: int) -> dict:
    """
    Random weights: as the plain loop has them, packed, and in int8; and once more in float32, but such as a checkpoint
    in half precision holds: the original's export writes bfloat16.
    """
    from t5gemma_tts.model.quantization import quantize_linears

    found = {}
    for name in ("plain", *OURS):
        model = bb_model(layers, extra_cutoff_seconds=0.0).eval()
        with torch.no_grad():
            model.audio_head.out_proj.bias[model.config.codebook_size :] = -1e4  # nothing ends by itself
        if name == "plain":
            model.set_attn_implementation("eager")
        if name == "float32_of_half":
            model.to(torch.bfloat16).to(torch.float32)
        if name == "int8":
            quantize_linears(model)
        found[name] = model
    return found


def first_audio(num_frames: int) -> dict:
    """Time to the first sound of a stream, to its end, and to the end of speaking without one; nano's voice."""
    from t5gemma_tts.checkpoints import NANO
    from t5gemma_tts.loading import load_model, load_processor

    model, processor = load_model(NANO, "cpu", "float32"), load_processor(NANO, codec_device="cpu")
    inputs = processor(
        text="The gardener carries a yellow basket of apples to the market every Saturday morning.",
        duration=num_frames / processor.frame_rate,
        language="en",
    )

    def whole() -> dict:
        start = time.perf_counter()
        tokens = torch.stack(list(model.stream(**inputs, seed=0)), dim=1)
        processor.batch_decode(tokens)
        return {"seconds": time.perf_counter() - start, "frames": tokens.shape[1]}

    def stream() -> dict:
        start = time.perf_counter()
        first = None
        for _ in processor.stream_decode(model.stream(**inputs, seed=0)):
            first = first or time.perf_counter() - start
        return {"first": first, "seconds": time.perf_counter() - start}

    stream()
    return {"whole": whole, "stream": stream}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer tokens and repeats, under a minute")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    repeats, frames, layers = (1, 15, 12) if arguments.quick else (5, 150, 12)
    found = models(layers)
    text = requests_of(found["plain"], [frames])[0].input_ids.unsqueeze(0)
    with torch.no_grad():
        for name in OURS:
            engine_run(found[name], [2])  # packs
    one = {
        "plain loop": lambda: timed(plain_loop, found["plain"], {"input_ids": text}, frames),
        **{name: partial(timed, engine_run, found[name], [frames]) for name in OURS},
        "memory": lambda: {"speed": memory_speed()},
    }
    lengths = [frames * part // 16 for part in range(9, 25)]
    many = {
        "plain loop": one["plain loop"],
        **{name: partial(timed, engine_run, found[name], lengths) for name in OURS},
    }
    one, many = interleaved(one, repeats), interleaved(many, repeats)
    limits = {name: median(one["memory"], "speed") / bytes_per_token(found[name]) for name in OURS}
    others = interleaved(
        {
            "delay": lambda: delay(found["int8"], frames // 6 if arguments.quick else 100, 8),
            **{name: partial(step_speed, found[name], (500, 4000), 5 if arguments.quick else 20) for name in OURS},
        },
        1 if arguments.quick else 3,
    )
    heard = interleaved(first_audio(100 if arguments.quick else 500), repeats)
    figures = {
        "ratio": {
            **{f"batch1_{name}": ratio(one, name) for name in OURS},
            **{f"texts16_{name}": ratio(many, name) for name in OURS},
            "first_audio": median(heard["stream"], "first") / median(heard["whole"], "seconds"),
            "stream_cost": median(heard["stream"], "seconds") / median(heard["whole"], "seconds"),
        },
        "delay_of_short_texts": median(others["delay"], "ratio"),
        "speed_at_4000_frames": {name: median(others[name], "ratio") for name in OURS},
        "share_of_memory_limit": {
            name: median(one[name], "tokens_per_second") / limit for name, limit in limits.items()
        },
        "tokens_per_second": {
            "batch1": {name: median(one[name], "tokens_per_second") for name in ("plain loop", *OURS)},
            "texts16": {name: median(many[name], "tokens_per_second") for name in many},
        },
    }
    if arguments.json:
        print_json(figures)
        return
    rate = found["plain"].config.frame_rate
    for title, results in (("one text", one), ("16 texts", many)):
        report(
            f"{title}, {frames} frames on average, {arguments.threads} thread(s)",
            [
                (
                    name,
                    f"{median(results[name], 'tokens_per_second'):.1f}",
                    f"{rate / median(results[name], 'tokens_per_second'):.2f}",
                    f"{ratio(results, name):.2f}",
                    f"{figures['share_of_memory_limit'].get(name, 0):.2f}" if results is one and name in limits else "",
                    f"{median(results[name], 'bytes') / 1e6:.0f}",
                )
                for name in ("plain loop", *OURS)
            ],
            ("", "tokens/s", "seconds per second of speech", "ratio", "of the memory's limit", "extra MB"),
        )
    lengths = figures["speed_at_4000_frames"]
    report(
        "company and length",
        [
            ("short texts beside ten times longer ones, time", f"{figures['delay_of_short_texts']:.2f}"),
            *((f"tokens/s at 4 000 frames, {name}", f"{lengths[name]:.2f}") for name in OURS),
        ],
        ("", "ratio to alone, or to 500 frames"),
    )
    report(
        f"nano's voice, {arguments.threads} thread(s)",
        [
            ("whole", f"{median(heard['whole'], 'seconds'):.2f}", f"{median(heard['whole'], 'seconds'):.2f}"),
            ("stream", f"{median(heard['stream'], 'first'):.2f}", f"{median(heard['stream'], 'seconds'):.2f}"),
        ],
        ("", "first sound, s", "last sound, s"),
    )


if __name__ == "__main__":
    main()
