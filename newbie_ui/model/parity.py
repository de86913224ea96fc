"""Compare this transformer with numbers that the official code computed.

    python -m newbie_ui.model.parity FOLDER

FOLDER holds `transformer.safetensors` (official names), `cases.json` (``config`` and ``cases``) and a
`<case>.safetensors` each, with inputs and the expected `out`. Prints the largest error of each case; exit code 1 if
one is above 1e-4, 2 if the folder cannot be used. Runs in float32 on the CPU.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from newbie_ui.errors import CheckpointError
from newbie_ui.model.guidance import Guidance
from newbie_ui.model.transformer import NewbieTransformer2DModel

LIMIT = 1e-4


def load_reference(folder: Path) -> tuple[NewbieTransformer2DModel, dict[str, dict[str, Any]]]:
    """The folder's transformer with its weights, and its cases by name. Raises CheckpointError."""
    try:
        description = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
        config, cases = description["config"], dict(description["cases"])
        model = NewbieTransformer2DModel(**config).eval()
        model.load_state_dict(_tensors(folder / "transformer.safetensors"), strict=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder} is no parity folder: {error}. Give a folder with cases.json, transformer.safetensors and "
            "one safetensors file a case."
        ) from error
    return model, cases


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist. Copy the whole parity folder.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}). Copy it again.") from error


@torch.inference_mode()
def velocity(model: NewbieTransformer2DModel, case: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> Tensor:
    """What our model gives for a case: one velocity, or a guided one where the case says `cfg_args`."""
    arguments = ("x", "t", "cap_feats", "cap_mask", "clip_text_pooled")
    x, t, features, mask, pooled = (inputs.get(name) for name in arguments)
    options = case.get("cfg_args")
    if options is None:
        return model(x, t, features, mask, pooled).sample
    # The first half of the batch is conditional, the second unconditional; the first half's latents serve both.
    half = len(x) // 2
    guidance = Guidance(scale=options["cfg_scale"], renorm=options["renorm_cfg"], end=options["cfg_trunc"])
    v = model(torch.cat((x[:half], x[:half])), t, features, mask, pooled).sample
    out = guidance.combine(v[:half], v[half:]) if guidance.acts_at(float(t[0])) else v[:half]
    return torch.cat((out, out))


def errors(folder: Path) -> Iterator[tuple[str, float]]:
    """(case, largest absolute error) for every case of the folder; infinite where shapes or numbers are wrong."""
    model, cases = load_reference(folder)
    for name, case in cases.items():
        inputs = _tensors(folder / f"{name}.safetensors")
        missing = {"x", "t", "cap_feats", "cap_mask", "out"} - set(inputs)
        if missing:
            raise CheckpointError(f"{name}.safetensors lacks {', '.join(sorted(missing))}. Copy the whole folder.")
        ours, expected = velocity(model, case, inputs), inputs["out"]
        error = (ours - expected).abs().max().item() if ours.shape == expected.shape else math.inf
        yield name, error if math.isfinite(error) else math.inf


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.model.parity", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder with cases.json and the numbers of the official code")
    folder = parser.parse_args(argv).folder
    worst = 0.0
    try:
        for name, error in errors(folder):
            worst = max(worst, error)
            print(f"{name:<24} {error:.3e}  {'ok' if error <= LIMIT else f'above {LIMIT:g}'}")
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
