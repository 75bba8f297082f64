"""Load test of the server: 64 concurrent clients against one client, with a check of each response.

    python benchmarks/serving.py [--json] [--quick] [--clients 64] [--each 5] [--memory-requests 500] [--threads 1]

Server and clients share the machine. The two settings alternate, so that a busy machine slows both equally. Throughput
is in seconds of speech per second. The expected audio of each request comes from the engine with the same seed.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np


ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measure import print_json, report  # noqa: E402


TEXTS = [
    "Hello there.",
    "Who brought his clean sunglasses near our garage?",
    "The gardener carries a yellow basket of apples to the market.",
    "He finally talks behind the mountain, but a noisy uncle cooked some cheese for the secretary after dinner.",
    "Good morning!",
]
PEAK = 32767
WRONG_DB = -20.0  # largest power of the difference from the expected audio; rounding errors are far below


@dataclass
class LoadRequest:
    """A request, and its expected audio, int16 `(num_samples,)`."""

    text: str
    seed: int
    expected: np.ndarray | None = None

    def body(self) -> dict:
        return {"input": self.text, "seed": self.seed, "language": "en", "response_format": "pcm", "sample_rate": 16000}


@dataclass
class Answer:
    status: int
    refusals: int  # number of 429 responses
    seconds: float
    sound: np.ndarray


def make_requests(count: int, model_name: str) -> list[LoadRequest]:
    """`count` different requests of mixed lengths, with the engine's output."""
    from t5gemma_tts import SpeechEngine, speech_requests
    from t5gemma_tts.loading import load_model, load_processor
    from t5gemma_tts.serving.formats import to_pcm

    model, processor = load_model(model_name, "cpu"), load_processor(model_name, codec_device="cpu")
    requests = [LoadRequest(TEXTS[number % len(TEXTS)], seed=number) for number in range(count)]
    inputs = processor(text=[request.text for request in requests], language="en")
    engine_requests = speech_requests(model, **inputs, seed=[request.seed for request in requests])
    for finished in SpeechEngine(model, 16).run(engine_requests):
        (waveform,) = processor.batch_decode([finished.token_ids])
        requests[engine_requests.index(finished)].expected = to_pcm(waveform)
    return requests


@contextmanager
def server(*options: str):
    """Starts a server process and yields its URL."""
    command = [sys.executable, "-m", "t5gemma_tts", "serve", "--port", "0", "--log-level", "warning", *options]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not (address := re.fullmatch(r"listening at (\S+)\n", line)):
                raise RuntimeError(f"the server did not start; it said {line!r}.")
            yield address[1]
        finally:
            process.terminate()


async def send(client: httpx.AsyncClient, request: LoadRequest) -> Answer:
    """Sends a request, and retries after a 429 when `Retry-After` has passed."""
    began, refusals = time.perf_counter(), 0
    while True:
        answer = await client.post("/v1/audio/speech", json=request.body())
        if answer.status_code != 429:
            sound = np.frombuffer(answer.content if answer.status_code == 200 else b"", "<i2")
            return Answer(answer.status_code, refusals, time.perf_counter() - began, sound)
        refusals += 1
        await asyncio.sleep(float(answer.headers["Retry-After"]))


async def send_all(address: str, requests: list[LoadRequest], num_clients: int) -> list[Answer]:
    """Splits the requests among clients that send them one by one; returns the answers in their order."""
    answers: list[Answer | None] = [None] * len(requests)

    async def one_client(number: int):
        async with httpx.AsyncClient(base_url=address, timeout=None) as client:
            for place in range(number, len(requests), num_clients):
                answers[place] = await send(client, requests[place])

    await asyncio.gather(*(one_client(number) for number in range(num_clients)))
    return answers


def run(address: str, requests: list[LoadRequest], num_clients: int) -> dict:
    began = time.perf_counter()
    answers = asyncio.run(send_all(address, requests, num_clients))
    seconds = time.perf_counter() - began
    waits = sorted(answer.seconds for answer in answers)
    return {
        "seconds": seconds,
        "speech_seconds": sum(len(request.expected) for request in requests) / 16000,
        "median_wait_seconds": waits[len(waits) // 2],
        **count_correct(requests, answers),
    }


def count_correct(requests: list[LoadRequest], answers: list[Answer]) -> dict:
    """Counts the answers by correctness."""
    answered = [(request, answer) for request, answer in zip(requests, answers, strict=True) if answer.status == 200]
    same_length = [pair for pair in answered if len(pair[1].sound) == len(pair[0].expected)]
    return {
        "requests": len(requests),
        "answered": len(answered),
        "other_errors": len(requests) - len(answered),
        "told_to_come_again": sum(answer.refusals for answer in answers),
        "of_the_right_length": len(same_length),
        "of_the_right_sound": sum(bool(difference_db(*pair) < WRONG_DB) for pair in same_length),
    }


def difference_db(request: LoadRequest, answer: Answer) -> float:
    """Power of the difference from the expected audio, relative to that of the expected audio, in dB."""
    expected = request.expected.astype(np.float64)
    difference = answer.sound - expected
    return 10 * np.log10((difference @ difference + 1) / (expected @ expected + 1))


def resident_bytes_of(address: str) -> float:
    text = httpx.get(f"{address}/metrics").text
    return float(re.search(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)[1])


def memory(address: str, requests: list[LoadRequest], count: int, every: int = 50) -> list[dict]:
    """Resident memory of the server while it answers `count` requests, 16 at a time."""
    figures = [{"requests": 0, "megabytes": resident_bytes_of(address) / 2**20}]
    for start in range(0, count, every):
        batch = [requests[number % len(requests)] for number in range(start, start + every)]
        asyncio.run(send_all(address, batch, 16))
        figures.append({"requests": start + every, "megabytes": resident_bytes_of(address) / 2**20})
    return figures


def parse_arguments() -> argparse.Namespace:
    from t5gemma_tts.checkpoints import NANO

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--model", default=NANO)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--each", type=int, default=5, help="requests of each client")
    parser.add_argument("--alone", type=int, default=40, help="requests of the one client, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-requests", type=int, default=500, help="0 skips the memory test")
    parser.add_argument("--queue-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1, help="torch threads of the server")
    parser.add_argument("--quick", action="store_true", help="16 clients x 3, one round, and no memory")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.clients, arguments.each, arguments.alone, arguments.rounds, arguments.memory_requests = (
            16,
            3,
            10,
            1,
            0,
        )
    return arguments


def main() -> None:
    arguments = parse_arguments()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    requests = make_requests(arguments.clients * arguments.each, arguments.model)
    rounds: dict[str, list[dict]] = {"one at a time": [], "together": []}
    with server("--model", arguments.model, "--queue-size", str(arguments.queue_size)) as address:
        run(address, requests[:16], 16)
        for number in range(arguments.rounds):
            few = [requests[(number * arguments.alone + place) % len(requests)] for place in range(arguments.alone)]
            rounds["one at a time"].append(run(address, few, 1))
            rounds["together"].append(run(address, requests, arguments.clients))
        figures = memory(address, requests, arguments.memory_requests)
    speeds = {name: [one["speech_seconds"] / one["seconds"] for one in results] for name, results in rounds.items()}
    ratios = sorted(ours / plain for ours, plain in zip(speeds["together"], speeds["one at a time"], strict=True))
    if arguments.json:
        print_json({"rounds": rounds, "ratio": ratios[len(ratios) // 2], "ratios": ratios, "memory": figures})
        return
    names = [name for name in rounds["together"][0] if name not in ("seconds", "speech_seconds")]
    report(
        f"{arguments.clients} clients x {arguments.each} requests",
        [
            (name, f"{speed:.1f}", *(f"{one[key]:.2f}" if isinstance(one[key], float) else one[key] for key in names))
            for name, results in rounds.items()
            for one, speed in zip(results, speeds[name], strict=True)
        ],
        ("", "speech s / s", *names),
    )
    print(f"\nthroughput, together / one at a time: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    report("memory of the server", [(one["requests"], f"{one['megabytes']:.0f}") for one in figures], ("after", "MB"))


if __name__ == "__main__":
    main()
