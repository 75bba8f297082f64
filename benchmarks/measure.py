"""Helpers of the benchmarks: peak memory of a call in a separate process, interleaved repeats, tables."""

import json
import multiprocessing
import os
import statistics
from collections.abc import Callable


def resident_bytes(kind: str = "VmRSS") -> int:
    """Resident memory of this process in bytes; `kind` "VmHWM" is its peak. Linux only."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{kind}:")) * 1024


class PeakMemory:
    """Peak of resident memory above the start, in bytes. The kernel counts it, so the block runs at full speed."""

    def __enter__(self):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # resets the peak
        self.start = resident_bytes()
        return self

    def __exit__(self, *exception):
        self.peak = resident_bytes("VmHWM")
        self.extra = self.peak - self.start


def _call(function: Callable, arguments: tuple, pipe) -> None:
    pipe.send(function(*arguments))


# makes glibc return large freed blocks at once, so that resident memory is live memory without fragmentation
LIVE_MEMORY_ONLY = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def in_own_process(function: Callable, *arguments, environment: dict[str, str] | None = None):
    """Result of `function(*arguments)` in a new process, whose memory no earlier run has affected."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(function, arguments, sender))
    before = dict(os.environ)
    os.environ.update(environment or {})
    try:
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    sender.close()
    try:
        result = receiver.recv()
    finally:
        process.join()
    return result


def interleaved(functions: dict[str, Callable], repeats: int) -> dict[str, list]:
    """Calls the functions in turn, `repeats` times, so that other load on the machine slows all equally."""
    results: dict[str, list] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            results[name].append(function())
    return results


def median(results: list[dict], key: str) -> float:
    return statistics.median(result[key] for result in results)


def report(title: str, rows: list[tuple], header: tuple) -> None:
    print(f"\n{title}")
    table = [tuple(map(str, row)) for row in (header, *rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(figures: dict) -> None:
    print(json.dumps(figures, indent=2))
