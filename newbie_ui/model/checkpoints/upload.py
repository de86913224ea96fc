"""From a mapped file to a device through pinned memory.

A plain copy of mapped memory to a card goes through a small buffer of the driver's, which one core fills. Here all
cores fill one piece while the piece before it travels.
"""

from __future__ import annotations

import torch
from torch import Tensor

PIECE_BYTES = 32 * 2**20


class Upload:
    """Copies to one device; keeps two pieces of pinned memory meanwhile, none where the device is the processor."""

    def __init__(self, device: str | torch.device, piece_bytes: int = PIECE_BYTES):
        self._bytes = piece_bytes
        self._pieces = [_Piece(piece_bytes), _Piece(piece_bytes)] if torch.device(device).type == "cuda" else []

    def copy(self, place: Tensor, source: Tensor) -> None:
        """place ← source, converted to place's type; source may go right after, work queued later finds it there.

        Args:
            place: (…), on the device, contiguous.
            source: (…) of the same shape, on the processor.
        """
        if not self._pieces:
            place.copy_(source)
            return
        place, source = place.view(-1), source.reshape(-1)
        length = self._bytes // source.element_size()
        for start in range(0, len(source), length):
            piece = self._pieces[0]
            self._pieces.reverse()
            piece.send(place[start : start + length], source[start : start + length])


class _Piece:
    """Pinned memory that is written again only after what was in it has arrived."""

    def __init__(self, size: int):
        self._memory = torch.empty(size, dtype=torch.uint8).pin_memory()
        self._arrived = torch.cuda.Event()

    def send(self, place: Tensor, source: Tensor) -> None:
        self._arrived.synchronize()
        room = self._memory[: source.nbytes].view(source.dtype)
        room.copy_(source)
        place.copy_(room, non_blocking=True)
        self._arrived.record(torch.cuda.current_stream(place.device))
