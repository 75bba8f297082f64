"""Zero-filled CPU tensors whose memory is allocated at first use, on request in huge pages."""

import contextlib
import math
import mmap

import torch


def lazy_zeros(shape: tuple[int, ...], like: torch.Tensor, huge: bool = False) -> torch.Tensor:
    """
    Zeros with the dtype and device of `like`. On the CPU, each memory page is allocated at first use.

    Args:
        shape (`tuple[int, ...]`)
        like (`torch.Tensor`)
        huge (`bool`, *optional*, defaults to `False`): request huge pages, which speed up repeated sequential reads.
            Linux only; the kernel may decline.

    Returns:
        `torch.Tensor` of shape `shape`.
    """
    size = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or not size:
        return like.new_zeros(shape)
    pages = mmap.mmap(-1, size, access=mmap.ACCESS_COPY)
    if huge and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # kernel without huge pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=like.dtype).view(shape)


__all__ = ["lazy_zeros"]
