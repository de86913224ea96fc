"""Weights that go from one stage (or machine) to the next: a few safetensors files of limited size each.

Half precision: what is handed over is what a stage starts from, not its optimizer.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

LARGEST = 15_000_000  # bytes a file


def save_weights(folder: Path, modules: dict[str, nn.Module], numbers: dict[str, float] | None = None) -> None:
    """Write all modules' weights as `weights-00.safetensors`, …; `numbers` (e.g. latent statistics) go along."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{name}/{key}": value.detach().to("cpu", torch.float16).contiguous()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    tensors |= {f"numbers/{key}": torch.tensor(value, dtype=torch.float64) for key, value in (numbers or {}).items()}
    for old in folder.glob("weights-*.safetensors"):
        old.unlink()
    for index, part in enumerate(_parts(tensors)):
        save_file(part, str(folder / f"weights-{index:02d}.safetensors"))


def _parts(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, value in tensors.items():
        if size + value.nbytes > LARGEST:
            parts.append({})
            size = 0
        parts[-1][key] = value
        size += value.nbytes
    return parts


def load_weights(folder: Path, modules: dict[str, nn.Module]) -> dict[str, float]:
    """Fill the modules that are in the files, strictly, and return the numbers. Modules not there stay as they are."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("weights-*.safetensors")):
        tensors |= load_file(file)
    for name, module in modules.items():
        state = {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}/")}
        if state:
            module.load_state_dict(state)
    return {key[8:]: float(value) for key, value in tensors.items() if key.startswith("numbers/")}
