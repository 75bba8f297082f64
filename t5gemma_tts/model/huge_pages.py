"""Zero-filled CPU tensors whose memory is allocated at first use, on request in huge pages."""

import contextlib
import math
import mmap

import torch


def untouched_zeros(shape: tuple[int, ...], like: torch.Tensor, huge: bool = False) -> torch.Tensor:
    """
    Zeros of the kind of `like`; on the CPU, in pages that take memory and time only when they are first used.

    Args:
        huge (`bool`, *optional*, defaults to `False`): ask for pages of megabytes, in which what is read from end to
            end again and again is found faster. Linux alone has them, and gives them if it likes.
    """
    size = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or not size:
        return like.new_zeros(shape)
    pages = mmap.mmap(-1, size, access=mmap.ACCESS_COPY)
    if huge and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=like.dtype).view(shape)


__all__ = ["untouched_zeros"]
