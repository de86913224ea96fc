"""Loading holds one copy of the weights: measured as peak resident set of a process of its own."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from newbie_ui.model.checkpoints import weights
from newbie_ui.model.transformer import NewbieTransformer2DModel

WIDE = {"dim": 768, "n_layers": 6, "n_refiner_layers": 1, "n_heads": 8, "n_kv_heads": 4, "cap_feat_dim": 256}
MAPPED = 30_000_000  # a tenth of the file, as the real window is less than a tenth of a real file
PROGRAM = """
import ctypes, gc, json, sys
from pathlib import Path
import torch
from newbie_ui.model.checkpoints import weights
from newbie_ui.model.checkpoints.parts import prepare_transformer

weights.MAPPED_BYTES = int(sys.argv[2])

def resident(line):
    return int(next(l for l in open("/proc/self/status") if l.startswith(line)).split()[1]) * 1024

figures = {}
for name in ("m.safetensors", "m.pth"):
    for dtype in ("float32", "bfloat16"):
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # give back what the last load used
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = resident("VmRSS")
        model = prepare_transformer(weights.open_weights(Path(sys.argv[1], name)), None).fill(getattr(torch, dtype))
        kept = sum(p.numel() * p.element_size() for p in model.parameters())
        figures[f"{name} {dtype}"] = (resident("VmHWM") - before, kept)
        del model
print(json.dumps(figures))
"""


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    model = NewbieTransformer2DModel(**WIDE, axes_dims=(32, 32, 32))
    state = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    save_file(state, folder / "m.safetensors")
    torch.save({"model": state}, folder / "m.pth")
    assert (folder / "m.safetensors").stat().st_size > 280e6
    command = [sys.executable, "-c", PROGRAM, str(folder), str(MAPPED)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["m.safetensors", "m.pth"])
def test_the_peak_is_the_weights_and_little_more(name, dtype, figures):
    grown, kept = figures[f"{name} {dtype}"]
    assert kept > 140e6
    assert grown < kept + MAPPED + 30e6


def test_the_window_keeps_a_real_model_within_a_gigabyte():
    assert weights.MAPPED_BYTES + 30e6 < 1e9
