"""Training on several GPUs of one machine: each rank works on its own samples, gradients are averaged, rank 0 writes.

Started by `torchrun --nproc-per-node N -m newbie_ui.demo.train …`; without torchrun there is one rank and all of
this does nothing. Batch sizes in the recipe are of all ranks together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def start(device: str) -> torch.device:
    """Join the other ranks, if there are any, and return this rank's device."""
    if "RANK" not in os.environ:
        return torch.device(device)
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl", timeout=timedelta(minutes=9))
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("gloo", timeout=timedelta(minutes=9))
    return torch.device(device)


def number() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def share(items: Sequence[T]) -> list[T]:
    """This rank's part of a list."""
    return list(items[number() :: count()])


def wait() -> None:
    """Until every rank is here."""
    if dist.is_initialized():
        dist.barrier()


def agree(choice: bool) -> bool:
    """Rank 0's choice, on all ranks."""
    if not dist.is_initialized():
        return choice
    said = [choice]
    dist.broadcast_object_list(said, src=0)
    return said[0]


@torch.no_grad()
def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Give all ranks rank 0's values."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


@torch.no_grad()
def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its mean over the ranks, in one transfer."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch._utils._flatten_dense_tensors(gradients)
    dist.all_reduce(flat)
    flat /= count()
    torch._foreach_copy_(gradients, list(torch._utils._unflatten_dense_tensors(flat, gradients)))


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
