"""Pictures with captions of different lengths in one row of tokens, without padding between them.

    padded   [image | caption | padding]   a row each, as long as the longest
             [image | caption, padding…]
    packed   [image | caption | image | caption | padding]

For attention kernels that are told where each picture begins. Everything else in a block looks at one token at a time
and only has to know whose it is, for its modulation. Guided passes, whose captions are seldom equally long, leave out
a few percent of all work so.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Packing(NamedTuple):
    """Where the tokens of B pictures lie in one row of S. All are static in shape, for one compiled graph."""

    order: Tensor  # (S,) int64: which token of the padded batch, (B, N + L) laid out flat, stands where
    image: Tensor  # (B, N) int64: where the image tokens stand
    owner: Tensor  # (S,) int64: whose each token is; padding belongs to anybody
    starts: Tensor  # (B + 2,) int32: where each picture begins, the padding, and the end

    def packed(self, padded: Tensor) -> Tensor:
        """(B, N + L, …) → (1, S, …)."""
        return padded.flatten(0, 1).index_select(0, self.order).unsqueeze(0)

    def images(self, packed: Tensor) -> Tensor:
        """(1, S, …) → (B, N, …): the image tokens alone."""
        return packed[0].index_select(0, self.image.flatten()).unflatten(0, self.image.shape)

    def per_token(self, by_picture: Tensor) -> Tensor:
        """(B, …) → (1, S, …): each token gets what is its picture's."""
        return by_picture.index_select(0, self.owner).unsqueeze(0)


def make_packing(lengths: Tensor, captions: int, patches: int, room: int) -> Packing:
    """Does not wait for the device.

    Args:
        lengths: (B,) real tokens of each caption, on the device.
        captions: what each is padded to, L; together at least `room`.
        patches: image tokens of each picture, N.
        room: for the real tokens of all captions together.
    """
    batch, device = len(lengths), lengths.device
    whole = lengths.long() + patches
    padding = torch.arange(patches + captions, device=device) >= whole[:, None]  # (B, N + L)
    order = padding.flatten().to(torch.uint8).argsort(stable=True)[: batch * patches + room]
    ends = whole.cumsum(0)
    starts = torch.cat((F.pad(ends, (1, 0)), ends.new_full((1,), len(order)))).int()
    image = starts[:batch, None].long() + torch.arange(patches, device=device)
    return Packing(order, image, order // (patches + captions), starts)
