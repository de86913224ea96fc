"""The reader: tells from a picture how many characters there are, where, and every attribute of each.

One network looks at the whole picture and answers on a 32×32 grid: is the middle of a head here, and if so, what are
its character's attributes. So it does not need to know the layout, and what it reads at a place was seen there.
It is the measure of the demo model, trained on drawings and their reconstructions, never on generated pictures.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from newbie_ui.demo import ranks
from newbie_ui.demo.artist.look import MOST_CHARACTERS
from newbie_ui.demo.autoencoder import to_model
from newbie_ui.demo.config import Recipe
from newbie_ui.demo.data import ATTRIBUTES, PICTURE_ATTRIBUTES, UNKNOWN

log = logging.getLogger(__name__)

SIZES = [len(values) for values in ATTRIBUTES.values()]
PICTURE_SIZES = [len(values) for values in PICTURE_ATTRIBUTES.values()]
CELL = 8  # pixels
NEIGHBOURS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))  # cells that answer for a head, besides its own
MOVED = 2  # pixels, from one view to the next
SOFTER = 0.4  # how much of half the resolution a softer view has


@dataclass(frozen=True)
class Seen:
    """A character that was read: the middle of its head in pixels, and the value of each attribute."""

    x: float
    y: float
    values: dict[str, object]


def _stage(inside: int, outside: int, stride: int = 2) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
        nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


class Reader(nn.Module):
    """Five halvings down to 8×8, two back up to 32×32, then one linear layer a question."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        a, b, c, d, e = channels
        self.down = nn.ModuleList([_stage(3, a), _stage(a, b), _stage(b, c), _stage(c, d), _stage(d, e)])
        self.up = nn.ModuleList([_stage(e + d, d, 1), _stage(d + c, d, 1)])
        self.answers = nn.Conv2d(d, 1 + sum(SIZES), 1)
        self.picture = nn.Linear(e + d, sum(PICTURE_SIZES))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """images (B, 3, H, W) in [-1, 1] → heads (B, h, w), attributes (B, sum, h, w), picture (B, sum)."""
        levels, x = [], images
        for stage in self.down:
            x = stage(x)
            levels.append(x)
        deep = x
        for stage, level in zip(self.up, (levels[3], levels[2])):
            x = stage(torch.cat((F.interpolate(x, scale_factor=2.0), level), dim=1))
        answers = self.answers(x)
        summary = torch.cat((deep.mean(dim=(2, 3)), x.mean(dim=(2, 3))), dim=1)
        return answers[:, 0], answers[:, 1:], self.picture(summary)


def head_cells(heads: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (B, 4, 4) → column and row of each head's cell (B, 4) of side², and which boxes are there (B, 4)."""
    there = heads[..., 2] > heads[..., 0]
    x = ((heads[..., 0] + heads[..., 2]) / 2 / CELL).long().clamp(0, side - 1)
    y = ((heads[..., 1] + heads[..., 3]) / 2 / CELL).long().clamp(0, side - 1)
    return x, y, there


def loss_of(reader: Reader, images: Tensor, heads: Tensor, labels: Tensor, picture_labels: Tensor) -> Tensor:
    """Cross-entropy of every answer, at the cells of the heads; whether a head is there, everywhere."""
    presence, answers, picture = reader(images)
    side = presence.shape[-1]
    x, y, there = head_cells(heads, side)
    grid = torch.arange(side, device=images.device)
    near = ((grid - x[..., None]).abs()[:, :, None, :] <= 1) & ((grid - y[..., None]).abs()[:, :, :, None] <= 1)
    exact = ((grid == x[..., None])[:, :, None, :] & (grid == y[..., None])[:, :, :, None]) & there[..., None, None]
    ring = (near & there[..., None, None]).any(1) & ~exact.any(1)  # neither head nor not: no loss
    presence_loss = F.binary_cross_entropy_with_logits(
        presence.float(), exact.any(1).float(), weight=(~ring).float() * (1 + 30 * exact.any(1)), reduction="mean"
    )
    steps = torch.tensor(NEIGHBOURS, device=images.device)
    columns, rows = (
        (at[..., None] + step).clamp(0, side - 1)[there] for at, step in ((x, steps[:, 0]), (y, steps[:, 1]))
    )
    batch = torch.arange(len(images), device=images.device)[:, None, None].expand(*x.shape, len(steps))[there]
    at = answers[batch, :, rows, columns]  # (heads, neighbours, sum)
    asked = labels[there].long()[:, None].expand(-1, len(steps), -1)
    loss = 20 * presence_loss + _answers_loss(at.flatten(0, 1), asked.flatten(0, 1), SIZES)
    return loss + _answers_loss(picture, picture_labels.long(), PICTURE_SIZES)


def _answers_loss(answers: Tensor, labels: Tensor, sizes: list[int]) -> Tensor:
    """Cross-entropy of each question (N, sum of sizes) against labels (N, questions), summed over the questions."""
    return sum(
        F.cross_entropy(part.float(), labels[:, i], ignore_index=UNKNOWN, label_smoothing=0.02, reduction="sum")
        for i, part in enumerate(answers.split(sizes, dim=-1))
    ) / max(1, len(labels))


@torch.no_grad()
def read(reader: Reader, images: Tensor) -> list[tuple[list[Seen], dict[str, object]]]:
    """For each image (B, 3, H, W) in [-1, 1]: its characters from left to right, and the picture's own attributes.

    What the answers are on average over the views: of small things one look is less sure than several.
    """
    views = [reader(view) for view in _views(images)]
    presence, answers, picture = (sum(parts).float().div(len(views)).cpu() for parts in zip(*views))
    # presence stays in logits: two neighbours may both have a sigmoid of exactly 1
    peaks = (F.max_pool2d(presence[:, None], 5, 1, 2)[:, 0] == presence) & (presence > 0)
    places = [part.argmax(-1).tolist() for part in picture.split(PICTURE_SIZES, dim=-1)]
    results = []
    for b in range(len(images)):
        rows, columns = torch.where(peaks[b])
        best = presence[b, rows, columns].argsort(descending=True)[: MOST_CHARACTERS + 2]
        people = []
        for row, column in zip(rows[best].tolist(), columns[best].tolist()):
            choices = [part.argmax().item() for part in answers[b, :, row, column].split(SIZES)]
            values = {name: options[n] for (name, options), n in zip(ATTRIBUTES.items(), choices)}
            people.append(Seen((column + 0.5) * CELL, (row + 0.5) * CELL, values))
        scene = {name: options[places[i][b]] for i, (name, options) in enumerate(PICTURE_ATTRIBUTES.items())}
        results.append((sorted(people, key=lambda seen: seen.x), scene))
    return results


def _views(images: Tensor) -> Iterator[Tensor]:
    """The images as they are, moved to each side, softer and sharper, all (B, 3, H, W)."""
    yield images
    padded = F.pad(images, (MOVED,) * 4, mode="replicate")
    for x, y in NEIGHBOURS[1:]:
        yield padded.roll((x * MOVED, y * MOVED), dims=(3, 2))[..., MOVED:-MOVED, MOVED:-MOVED]
    blurred = F.interpolate(F.avg_pool2d(images, 2), images.shape[-2:], mode="bilinear")
    for share in (SOFTER, -SOFTER):
        yield torch.lerp(images, blurred, share).clamp(-1, 1)


def _spoil(images: Tensor, rng: torch.Generator) -> Tensor:
    """What a generated picture may differ in, mildly: each image has strengths of its own, most of them 0.

    Bent by up to 2 pixels at large and 0.7 in the small, sharpened or blurred, in a light of another colour, with
    noise by pixel and odd spots as large as a latent. Labels are not changed, so people must still see what was drawn.
    """
    count, _, height, width = images.shape
    drawn = torch.rand(2, 6, count, 1, 1, 1, generator=rng).to(images.device)
    bend, sharp, soft, light, grain, blots = (drawn[0] < 0.4) * drawn[1]

    def field(channels: int, cells: int) -> Tensor:
        """Values in [-1, 1] that change smoothly from one of the cells to the next."""
        corners = torch.rand(count, channels, cells, cells, device=images.device) * 2 - 1
        return F.interpolate(corners, (height, width), mode="bilinear")

    still = F.affine_grid(torch.eye(2, 3, device=images.device)[None], [1, 3, height, width], align_corners=False)
    moves = bend * (2.0 * field(2, 5) + 0.7 * field(2, 32)) * (2 / width)
    images = F.grid_sample(images, still + moves.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    for factor, share in ((2, soft - 0.6 * sharp), (4, 0.4 * soft * sharp)):
        blurred = F.interpolate(F.avg_pool2d(images, factor), (height, width), mode="bilinear")
        images = torch.lerp(images, blurred, share)
    tint, curve = (torch.rand(count, channels, 1, 1, device=images.device) * 2 - 1 for channels in (3, 1))
    images = (images.clamp(-1, 1) / 2 + 0.5).pow(1 + 0.2 * light * curve) * 2 - 1
    images = images * (1 + 0.06 * light * tint) + 0.05 * light * tint
    images = images + 0.1 * grain * torch.randn_like(images) + 0.5 * blots * field(3, height // CELL) ** 3
    return images.clamp(-1, 1)


def train_reader(reader: Reader, recipe: Recipe, data: dict[str, Tensor], again: Tensor, device: torch.device) -> None:
    """Train in place. `again` are reconstructions of the first pictures of `data` (see `load_shard`)."""
    part, batch = recipe.reader, max(2, recipe.reader.batch // ranks.count())
    rng = torch.Generator().manual_seed(recipe.seed + 1000 * ranks.number())
    reader.to(device, memory_format=torch.channels_last).train()
    parameters = list(reader.parameters())
    ranks.copy_from_first([*parameters, *reader.buffers()])
    optimizer = torch.optim.AdamW(parameters, lr=part.lr, weight_decay=0.02)
    kept = [*parameters, *(b for b in reader.buffers() if b.is_floating_point())]
    average = [value.detach().clone() for value in kept]
    steps, started = max(1, part.pictures // part.batch), time.monotonic()
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = part.lr * min(1.0, step / 200) * max(0.01, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        chosen = torch.randint(len(data["pixels"]), (batch,), generator=rng)
        chosen[: batch // 4] %= len(again)  # a quarter of the batch is seen as the autoencoder shows it
        chosen = chosen.to(device)
        pixels = torch.cat((again[chosen[: batch // 4]], data["pixels"][chosen[batch // 4 :]]))
        images = _spoil(to_model(pixels), rng).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of(
                reader, images, data["heads"][chosen], data["labels"][chosen], data["picture_labels"][chosen]
            )
        loss.backward()
        ranks.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch._foreach_lerp_(average, [value.detach() for value in kept], 1 - min(0.998, step / (step + 10)))
        if step % 200 == 0 or step == steps:
            log.info("reader step %d %.0f s loss %.3f", step, time.monotonic() - started, loss.item())
    with torch.no_grad():
        torch._foreach_copy_(kept, average)
    reader.eval()
