"""Process group of distributed dataset preparation."""

from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import PartialState


# the slowest process may be hours behind the fastest; process group initialization keeps torch's default timeout
LONGEST_WAIT = timedelta(days=30)


class Processes:
    """
    State of this process, started by `accelerate launch`, `torchrun` or alone.

    Args:
        device (`str`): Requested device; "auto" uses the device that accelerate assigns.
    """

    def __init__(self, device: str):
        # without CUDA, accelerate only creates a process group with `cpu=True`
        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
        self.index, self.count, self.is_main = state.process_index, state.num_processes, state.is_main_process
        self.device = str(state.device) if self.count > 1 and device == "auto" else device
        self._group = None
        if self.count > 1:
            # the NCCL barrier times out after minutes
            self._group = torch.distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)

    def wait(self) -> None:
        """Barrier: waits for all processes."""
        if self._group is not None:
            torch.distributed.barrier(self._group)

    @contextmanager
    def main_first(self):
        """Context manager: the main process runs the block before all others."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()
