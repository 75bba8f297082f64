"""The server under load: 64 clients at once against one at a time, every answer compared with what it should be.

    python benchmarks/serving.py [--json] [--quick] [--clients 64] [--each 5] [--memory-requests 500] [--threads 1]

Server and clients share the machine. Both ways of asking take turns, so that a busy machine slows both alike; the
throughput is in seconds of speech per second. What an answer should be comes from the engine itself, by its seed.
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
WRONG_DB = -20.0  # of the difference from the expected sound: rounding in other batches is far below


@dataclass
class Order:
    """One request, and what should come of it: int16 `(num_samples,)`."""

    text: str
    seed: int
    expected: np.ndarray | None = None

    def body(self) -> dict:
        return {"input": self.text, "seed": self.seed, "language": "en", "response_format": "pcm"}


@dataclass
class Answer:
    status: int
    refusals: int  # how often it was told to come again
    seconds: float
    sound: np.ndarray


def orders_for(count: int, model_name: str) -> list[Order]:
    """`count` different requests of mixed lengths, with what the engine makes of them."""
    from t5gemma_tts import SpeechEngine, speech_requests
    from t5gemma_tts.loading import load_model, load_processor
    from t5gemma_tts.serving.formats import to_pcm

    model, processor = load_model(model_name, "cpu"), load_processor(model_name, codec_device="cpu")
    orders = [Order(TEXTS[number % len(TEXTS)], seed=number) for number in range(count)]
    inputs = processor(text=[order.text for order in orders], language="en")
    requests = speech_requests(model, **inputs, seed=[order.seed for order in orders])
    for request in SpeechEngine(model, 16).run(requests):
        (sound,) = processor.batch_decode([request.token_ids])
        orders[requests.index(request)].expected = to_pcm(sound)
    return orders


@contextmanager
def server(*options: str):
    """The address of a server in a process of its own."""
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


async def ask(client: httpx.AsyncClient, order: Order) -> Answer:
    """The answer to an order; a client that is refused comes again when it was told to."""
    began, refusals = time.perf_counter(), 0
    while True:
        answer = await client.post("/v1/audio/speech", json=order.body())
        if answer.status_code != 429:
            sound = np.frombuffer(answer.content if answer.status_code == 200 else b"", "<i2")
            return Answer(answer.status_code, refusals, time.perf_counter() - began, sound)
        refusals += 1
        await asyncio.sleep(float(answer.headers["Retry-After"]))


async def crowd(address: str, orders: list[Order], num_clients: int) -> list[Answer]:
    """Each client has a share of the orders and asks for one after the other; answers in the orders' order."""
    answers: list[Answer | None] = [None] * len(orders)

    async def one_client(number: int):
        async with httpx.AsyncClient(base_url=address, timeout=None) as client:
            for place in range(number, len(orders), num_clients):
                answers[place] = await ask(client, orders[place])

    await asyncio.gather(*(one_client(number) for number in range(num_clients)))
    return answers


def run(address: str, orders: list[Order], num_clients: int) -> dict:
    began = time.perf_counter()
    answers = asyncio.run(crowd(address, orders, num_clients))
    seconds = time.perf_counter() - began
    waits = sorted(answer.seconds for answer in answers)
    return {
        "seconds": seconds,
        "speech_seconds": sum(len(order.expected) for order in orders) / 16000,
        "median_wait_seconds": waits[len(waits) // 2],
        **verdicts(orders, answers),
    }


def verdicts(orders: list[Order], answers: list[Answer]) -> dict:
    """How many answers there are, by what is right or wrong with them."""
    answered = [(order, answer) for order, answer in zip(orders, answers, strict=True) if answer.status == 200]
    same_length = [pair for pair in answered if len(pair[1].sound) == len(pair[0].expected)]
    return {
        "requests": len(orders),
        "answered": len(answered),
        "other_errors": len(orders) - len(answered),
        "told_to_come_again": sum(answer.refusals for answer in answers),
        "of_the_right_length": len(same_length),
        "of_the_right_sound": sum(bool(difference_db(*pair) < WRONG_DB) for pair in same_length),
    }


def difference_db(order: Order, answer: Answer) -> float:
    """Power of the difference from the expected sound, against that of the sound."""
    expected = order.expected.astype(np.float64)
    difference = answer.sound - expected
    return 10 * np.log10((difference @ difference + 1) / (expected @ expected + 1))


def resident_bytes_of(address: str) -> float:
    text = httpx.get(f"{address}/metrics").text
    return float(re.search(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)[1])


def memory(address: str, orders: list[Order], count: int, every: int = 50) -> list[dict]:
    """Resident memory of the server while it answers `count` requests, 16 at a time."""
    figures = [{"requests": 0, "megabytes": resident_bytes_of(address) / 2**20}]
    for start in range(0, count, every):
        batch = [orders[number % len(orders)] for number in range(start, start + every)]
        asyncio.run(crowd(address, batch, 16))
        figures.append({"requests": start + every, "megabytes": resident_bytes_of(address) / 2**20})
    return figures


def parse_arguments() -> argparse.Namespace:
    from t5gemma_tts.checkpoints import NANO

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--model", default=NANO)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--each", type=int, default=5, help="requests of each client")
    parser.add_argument("--alone", type=int, default=40, help="requests of the one client, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-requests", type=int, default=500, help="0 leaves memory out")
    parser.add_argument("--queue-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1, help="of the server's torch")
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
    orders = orders_for(arguments.clients * arguments.each, arguments.model)
    rounds: dict[str, list[dict]] = {"one at a time": [], "together": []}
    with server("--model", arguments.model, "--queue-size", str(arguments.queue_size)) as address:
        run(address, orders[:16], 16)
        for number in range(arguments.rounds):
            few = [orders[(number * arguments.alone + place) % len(orders)] for place in range(arguments.alone)]
            rounds["one at a time"].append(run(address, few, 1))
            rounds["together"].append(run(address, orders, arguments.clients))
        figures = memory(address, orders, arguments.memory_requests)
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
