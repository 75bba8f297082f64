"""The benchmark of the server, small: more clients than it takes at once, and none gets another's speech."""

import asyncio

import numpy as np
import pytest

from benchmarks.serving import Answer, LoadRequest, count_correct, make_requests, memory, send_all, server
from t5gemma_tts.checkpoints import NANO


def test_benchmark_detects_errors():
    random = np.random.default_rng(0)
    requests = [
        LoadRequest("", 0, (8000 * random.normal(size=1000)).clip(-30000, 30000).astype(np.int16)) for _ in range(5)
    ]
    right = [Answer(200, 0, 0.0, request.expected + 1) for request in requests]
    assert count_correct(requests, right)["of_the_right_sound"] == 5
    wrong = [right[1], right[0], Answer(500, 0, 0.0, right[2].sound[:0]), Answer(200, 3, 0.0, right[3].sound[:-1])]
    assert count_correct(requests, [*wrong, right[4]]) == {
        "requests": 5,
        "answered": 4,
        "other_errors": 1,
        "told_to_come_again": 3,
        "of_the_right_length": 3,
        "of_the_right_sound": 1,
    }


@pytest.mark.slow
def test_many_clients_and_memory():
    requests = make_requests(128, NANO)
    with server("--model", NANO, "--queue-size", "24") as address:
        found = count_correct(requests, asyncio.run(send_all(address, requests, 64)))
        figures = [one["megabytes"] for one in memory(address, requests, 150)]
    assert found["told_to_come_again"] > 0
    assert found["answered"] == found["of_the_right_length"] == found["of_the_right_sound"] == 128
    assert figures[-1] < 1.05 * figures[0]
