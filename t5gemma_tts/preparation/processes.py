"""The processes that prepare a dataset together."""

from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import PartialState


# the slowest process may be hours behind the fastest; the processes' first meeting keeps torch's own limit
LONGEST_WAIT = timedelta(days=30)


class Processes:
    """
    This process among those of `accelerate launch` or `torchrun`, or alone.

    Args:
        device (`str`): What the option asks for; "auto" is the device that accelerate gives this process.
    """

    def __init__(self, device: str):
        # on machines without CUDA, accelerate starts no group of processes unless it is told that they use the CPU
        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
        self.index, self.count, self.is_main = state.process_index, state.num_processes, state.is_main_process
        self.device = str(state.device) if self.count > 1 and device == "auto" else device
        self._group = None
        if self.count > 1:
            # waiting is no work for the accelerators, whose own barrier gives up after minutes
            self._group = torch.distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)

    def wait(self) -> None:
        """Returns when all processes have called it as often as this one."""
        if self._group is not None:
            torch.distributed.barrier(self._group)

    @contextmanager
    def main_first(self):
        """The main process goes through the block before the others do."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()
