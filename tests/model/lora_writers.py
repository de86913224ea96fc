"""LoRA files of every format for a tiny transformer, with random numbers."""

from __future__ import annotations

import torch
from safetensors.torch import save_file

TARGETS = ("attention.qkv", "attention.out", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
OUTSIDE = ("time_text_embed.1", "clip_text_pooled_proj.1")


def layers(transformer, kinds=TARGETS, outside=OUTSIDE):
    """name → (out, in) of what NewBie's trainer usually targets."""
    names = [f"layers.{i}.{kind}" for i in range(len(transformer.layers)) for kind in kinds] + list(outside)
    modules = {name: transformer.get_submodule(name) for name in names}
    return {name: (m.out_features, m.in_features) for name, m in modules.items()}


def low_rank(shapes, rank=4, seed=0, size=0.2):
    """name → (down (r, in), up (out, r))."""
    g = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(rank, n, generator=g) * size, torch.randn(m, rank, generator=g) * size)
        for name, (m, n) in shapes.items()
    }


def dense(pairs, scale=1.0):
    return {name: scale * up @ down for name, (down, up) in pairs.items()}


def write_peft(path, pairs, alpha=None, prefix="base_model.model.", middle=""):
    state = {}
    for name, (down, up) in pairs.items():
        state[f"{prefix}{name}.lora_A{middle}.weight"] = down
        state[f"{prefix}{name}.lora_B{middle}.weight"] = up
    save_file(state, path, metadata={} if alpha is None else {"lora_alpha": str(alpha), "lora_rank": "4"})
    return path


def write_kohya(path, pairs, alpha, prefix="lora_unet_"):
    state = {}
    for name, (down, up) in pairs.items():
        flat = prefix + name.replace(".", "_")
        state |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up, f"{flat}.alpha": torch.tensor(alpha)}
    save_file(state, path)
    return path


def write_lokr(path, shapes, rank=0, alpha=1.0, factor=4, seed=0, norms=()):
    """LoKr as LyCORIS writes it; returns name → dense update. With a rank the second factor is a product."""
    g = torch.Generator().manual_seed(seed)
    state, updates = {}, {}
    for name, (m, n) in shapes.items():
        flat = "lycoris_" + name.replace(".", "_")
        w1 = torch.randn(factor, factor, generator=g) * 0.2
        state[f"{flat}.lokr_w1"] = w1
        state[f"{flat}.alpha"] = torch.tensor(float(alpha))
        if rank:
            a = torch.randn(m // factor, rank, generator=g) * 0.2
            b = torch.randn(rank, n // factor, generator=g) * 0.2
            state |= {f"{flat}.lokr_w2_a": a, f"{flat}.lokr_w2_b": b}
            updates[name] = torch.kron(w1, a @ b) * alpha / rank
        else:
            w2 = torch.randn(m // factor, n // factor, generator=g) * 0.2
            state[f"{flat}.lokr_w2"] = w2
            updates[name] = torch.kron(w1, w2)
    for name, width in norms:
        shift = torch.randn(width, generator=g) * 0.2
        state["lycoris_" + name.replace(".", "_") + ".w_norm"] = shift
        updates[name] = shift
    save_file(state, path)
    return updates


def write_loha(path, shapes, rank=2, alpha=1.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    state, updates = {}, {}
    for name, (m, n) in shapes.items():
        flat = "lycoris_" + name.replace(".", "_")
        a1, a2 = (torch.randn(m, rank, generator=g) * 0.4 for _ in range(2))
        b1, b2 = (torch.randn(rank, n, generator=g) * 0.4 for _ in range(2))
        state |= {f"{flat}.hada_w1_a": a1, f"{flat}.hada_w1_b": b1, f"{flat}.hada_w2_a": a2, f"{flat}.hada_w2_b": b2}
        state[f"{flat}.alpha"] = torch.tensor(float(alpha))
        updates[name] = (a1 @ b1) * (a2 @ b2) * alpha / rank
    save_file(state, path)
    return updates
