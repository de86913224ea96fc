"""Stage: the flow. Transformer and both text encoders learn together to turn noise into latents of drawings.

Rectified flow: x_t = (1 - t)·noise + t·image, the target is `image - noise`, t = 0 is noise. Characters, and their
heads most, weigh more in the loss, because a face covers few latents and carries most attributes.
A training can stop at any step and go on from its state files, on any number of GPUs.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import Gemma3TextModel, JinaEmbeddingsV3Model

from newbie_ui.demo import ranks
from newbie_ui.demo.config import Flow, Recipe
from newbie_ui.demo.muon import Muon
from newbie_ui.demo.networks import BOS, PAD
from newbie_ui.demo.tokenizer import SPECIAL
from newbie_ui.engine.graphs import record_graph
from newbie_ui.model.text import without_last_layer
from newbie_ui.model.transformer import NewbieTransformer2DModel

log = logging.getLogger(__name__)

NOT_HIDDEN = ("embed", "adaLN", "final_layer")  # in the names of matrices that take in, modulate or give out
SYSTEM = SPECIAL.index("<prompt start>")
CELL = 8  # pixels a latent


@dataclass(frozen=True)
class FlowNetworks:
    """What is trained together."""

    transformer: NewbieTransformer2DModel
    gemma: Gemma3TextModel
    clip: JinaEmbeddingsV3Model

    def modules(self) -> dict[str, nn.Module]:
        return {"transformer": self.transformer, "gemma": self.gemma, "clip": self.clip}

    def parameters(self) -> list[nn.Parameter]:
        unused = {id(p) for p in self.gemma.layers[-1].parameters()} | {id(p) for p in self.gemma.norm.parameters()}
        unused |= {id(p) for p in self.transformer.norm_final.parameters()}
        return [p for m in self.modules().values() for p in m.parameters() if id(p) not in unused]

    def matrices(self) -> set[nn.Parameter]:
        """The matrices between hidden states."""
        named = (pair for module in self.modules().values() for pair in module.named_parameters())
        return {p for name, p in named if p.dim() == 2 and not any(word in name for word in NOT_HIDDEN)}

    def velocity(self, latents: Tensor, t: Tensor, gemma_ids: Tensor, clip_ids: Tensor) -> Tensor:
        """The velocity (B, 16, h, w) for token ids (B, L) padded with `PAD` on the right."""
        mask = gemma_ids != PAD
        with without_last_layer(self.gemma):
            # Gemma looks back only and padding comes last, so the causal mask alone hides it
            features = self.gemma(
                input_ids=gemma_ids, attention_mask={"full_attention": None, "sliding_attention": None}, use_cache=False
            ).last_hidden_state
        clip_mask = clip_ids != PAD
        # Of four dimensions it is taken as it is; of another one the card would be asked whether it hides anything
        states = self.clip(input_ids=clip_ids, attention_mask=clip_mask[:, None, None]).last_hidden_state.float()
        weight = clip_mask.unsqueeze(-1).float()
        pooled = (states * weight).sum(dim=1) / weight.sum(dim=1)
        return self.transformer(latents, t, features, mask, pooled.to(features.dtype), return_dict=False)[0]


def sample_times(count: int, part: Flow, rng: torch.Generator, device: torch.device) -> Tensor:
    """Times (B,) in (0, 1): logit-normal, shifted towards noise, some uniform."""
    sigma = torch.randn(count, generator=rng, device=device).sigmoid()
    sigma = part.shift * sigma / (1 + (part.shift - 1) * sigma)
    uniform = torch.rand(count, generator=rng, device=device)
    sigma = torch.where(torch.rand(count, generator=rng, device=device) < part.uniform, uniform, sigma)
    return 1 - sigma


def loss_weights(heads: Tensor, side: int, part: Flow) -> Tensor:
    """(B, 1, side, side) with mean 1 a picture: more on figures, most on heads. `heads` are (B, 4, 4) in pixels."""
    centre = (torch.arange(side, device=heads.device) + 0.5) * CELL
    x0, y0, x1, y1 = heads.unbind(-1)  # (B, 4)
    columns = (centre > x0[..., None]) & (centre < x1[..., None])  # (B, 4, side)
    head_rows = (centre > y0[..., None]) & (centre < y1[..., None])
    body_rows = (centre >= y1[..., None]) & (centre < (y1 + 0.95 * (y1 - y0))[..., None])
    head = (head_rows[..., None] & columns[..., None, :]).any(1)
    body = (body_rows[..., None] & columns[..., None, :]).any(1)
    weights = 1 + part.figures * (head | body) + part.faces * head
    return (weights / weights.mean(dim=(1, 2), keepdim=True))[:, None]


def caption_ids(tokens: Tensor, part: Flow, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Token rows (B, L - 2) → ids for Gemma and for CLIP (B, L): some empty, most with the system prompt for Gemma."""
    count, device = len(tokens), tokens.device
    tokens = tokens.long()
    empty = torch.rand(count, 1, generator=rng, device=device) < part.dropout
    tokens = torch.where(empty, PAD, tokens)
    begin, pad = torch.full((count, 1), BOS, device=device), torch.full((count, 1), PAD, device=device)
    plain = torch.cat((begin, tokens, pad), dim=1)
    with_system = torch.cat((begin, torch.full_like(begin, SYSTEM), tokens), dim=1)
    system = (torch.rand(count, 1, generator=rng, device=device) < 0.75) & ~empty
    return torch.where(system, with_system, plain), plain


class Example(NamedTuple):
    """A batch as the networks see it, with everything in it that chance decides."""

    mixed: Tensor  # (B, 16, h, w) between noise and image
    times: Tensor  # (B,)
    target: Tensor  # (B, 16, h, w) the velocity
    weights: Tensor  # (B, 1, h, w) of the loss
    gemma_ids: Tensor  # (B, L)
    clip_ids: Tensor  # (B, L)


def make_example(batch: dict[str, Tensor], part: Flow, rng: torch.Generator) -> Example:
    """Draw times, noise and dropped captions for latents (B, 16, h, w), tokens (B, L - 2) and heads (B, 4, 4)."""
    image = batch["latents"].float()
    times = sample_times(len(image), part, rng, image.device)
    noise = torch.randn(image.shape, generator=rng, device=image.device)
    mixed = torch.lerp(noise, image, times.view(-1, 1, 1, 1))
    weights = loss_weights(batch["heads"], image.shape[-1], part)
    return Example(mixed, times, image - noise, weights, *caption_ids(batch["tokens"], part, rng))


def flow_loss(networks: FlowNetworks, example: Example) -> Tensor:
    """Weighted squared error of the velocity."""
    velocity = networks.velocity(example.mixed, example.times, example.gemma_ids, example.clip_ids)
    return ((velocity.float() - example.target).square() * example.weights).mean()


class FlowTraining:
    """One training: networks, optimizer, running average, and how far it is."""

    def __init__(self, networks: FlowNetworks, recipe: Recipe, data: dict[str, Tensor], device: torch.device):
        self.networks, self.part, self.data, self.device = networks, recipe.flow, data, device
        for module in networks.modules().values():
            module.to(device).train()
        self.live = networks.parameters()
        ranks.copy_from_first(self.live)
        matrices = networks.matrices() if self.part.matrix_lr else set()
        rest = [p for p in self.live if p not in matrices]
        self.adam = torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.01, fused=device.type == "cuda")
        self.muon = Muon([p for p in self.live if p in matrices], torch.zeros((), device=device)) if matrices else None
        self.average = [p.detach().clone() for p in self.live]
        self.rng = torch.Generator(device).manual_seed(recipe.seed + 1000 * ranks.number())
        self.batch = max(1, self.part.batch // ranks.count())
        self.steps = max(1, self.part.samples // self.part.batch)
        self.step, self.spent, self.curve = 0, 0.0, []
        self._replay: Callable[[], Tensor] | None = None
        self._replay_muon: Callable[[], None] | None = None
        self._held: Example | None = None  # what it reads
        if device.type == "cuda":
            net = networks.transformer
            net.residual_dtype = None  # autocast's own: fewer bytes a step
            refiners = (*net.noise_refiner, *net.context_refiner)
            for block in (*net.layers, *refiners, *networks.gemma.layers[:-1], *networks.clip.layers):
                block.compile(dynamic=False)

    def run(self, seconds: float, report: Callable[[int], None] = lambda step: None, reports: int = 4) -> bool:
        """Train until the recipe's samples are seen (True) or for at most this long (False)."""
        started, earlier = time.monotonic(), self.spent
        while self.step < self.steps:
            loss = self._one_step()
            if self.step % 50 == 0:
                self.spent = earlier + time.monotonic() - started
                if ranks.agree(time.monotonic() - started > seconds):
                    break
            if self.step % 100 == 0 or self.step == self.steps:
                self.curve.append((self.step, round(self.spent, 1), loss.item()))
                log.info("flow step %d of %d, %.0f s, loss %.4f", self.step, self.steps, *self.curve[-1][1:])
            if self.step % max(1, self.steps // reports) == 0:
                report(self.step)
        self.spent = earlier + time.monotonic() - started
        return self.step >= self.steps

    def _one_step(self) -> Tensor:
        share = min(1.0, (self.step + 1) / self.part.warmup) * (0.5 + 0.5 * math.cos(math.pi * self.step / self.steps))
        loss = self._gradients(make_example(self._batch(), self.part, self.rng))
        ranks.average_gradients(self.live)
        nn.utils.clip_grad_norm_(self.live, 1.0)
        self._move(share)
        decay = min(self.part.ema, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.live], 1 - decay)
        self.step += 1
        return loss.detach()

    def _move(self, share: float) -> None:
        """One step of the optimizers at this share of their rates."""
        self.adam.param_groups[0]["lr"] = self.part.lr * share + 1e-7
        self.adam.step()
        if self.muon is None:
            return
        self.muon.param_groups[0]["lr"].fill_(self.part.matrix_lr * share)
        if self.device.type != "cuda":
            self.muon.step()
        elif self._replay_muon is None:
            self.muon.step()  # what it keeps must be there
            self._replay_muon = record_graph(self.muon.step, warm_up=0)
        else:
            self._replay_muon()

    def _gradients(self, example: Example) -> Tensor:
        """The loss, and its gradients in `live`. A GPU gets all kernels at once: Python is slower than they are."""
        if self.device.type != "cuda":
            return self._forward_and_backward(example)
        if self._replay is None:
            self._held = Example(*(tensor.clone() for tensor in example))
            self._replay = record_graph(lambda: self._forward_and_backward(self._held))
        torch._foreach_copy_([*self._held], [*example])
        return self._replay()

    def _forward_and_backward(self, example: Example) -> Tensor:
        for parameter in self.live:
            parameter.grad = None
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = flow_loss(self.networks, example)
        loss.backward()
        return loss

    def _batch(self) -> dict[str, Tensor]:
        count, ways = self.data["tokens"].shape[:2]
        chosen = torch.randint(count, (self.batch,), generator=self.rng, device=self.device)
        way = torch.randint(ways, (self.batch,), generator=self.rng, device=self.device)
        return {
            "latents": self.data["latents"][chosen],
            "tokens": self.data["tokens"][chosen, way],
            "heads": self.data["heads"][chosen],
        }

    def swap_average(self) -> None:
        """Exchange the live weights and their running average; twice is nothing."""
        with torch.no_grad():
            for live, average in zip(self.live, self.average):
                kept = live.clone()
                live.copy_(average)
                average.copy_(kept)

    def save(self, path: Path) -> None:
        """Everything that going on needs. Every rank keeps its own random state and rank 0 the rest."""
        state = {"rng": self.rng.get_state(), "step": self.step, "spent": self.spent, "curve": self.curve}
        if ranks.number() == 0:
            state["networks"] = {name: module.state_dict() for name, module in self.networks.modules().items()}
            state |= {"adam": self.adam.state_dict(), "average": self.average}
            state |= {"muon": self.muon.state_dict()} if self.muon else {}
        torch.save(state, path.with_name(f"{path.name}.{ranks.number()}"))

    def load(self, path: Path) -> None:
        state = torch.load(path.with_name(f"{path.name}.0"), map_location=self.device, weights_only=True)
        for name, module in self.networks.modules().items():
            module.load_state_dict(state["networks"][name])
        self.adam.load_state_dict(state["adam"])
        if self.muon is not None:
            self.muon.load_state_dict(state["muon"])
        torch._foreach_copy_(self.average, state["average"])
        mine = path.with_name(f"{path.name}.{ranks.number()}")
        if mine.exists():  # a rank that was not there before draws its own numbers from their start
            self.rng.set_state(torch.load(mine, map_location="cpu", weights_only=True)["rng"])
        self.step, self.spent, self.curve = state["step"], state["spent"], state["curve"]


def write_curve(path: Path, curve: list, names: tuple[str, ...] = ("step", "seconds", "loss")) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *curve])
