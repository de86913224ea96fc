"""Train the demo model: `python -m newbie_ui.demo.train --work DIR --out DIR`.

Stages, in order: draw, autoencoder, encode, reader, flow, lora, export. Each reads and writes the work folder and can
be started alone; the flow goes on from where it stopped. `--out` gets what is handed to another machine (weights in
files under 16 MB, start there with `--start`), sample sheets, curves, and what was used. `--start` also takes a model
as it is shipped. On several GPUs: `torchrun --nproc-per-node N -m newbie_ui.demo.train …`.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image

from newbie_ui.demo import handover, ranks
from newbie_ui.demo.autoencoder import (
    decode_latents,
    encode_pixels,
    fit_statistics,
    load_pixels,
    measure_psnr,
    to_pixels,
    train_autoencoder,
)
from newbie_ui.demo.config import RECIPE, load_recipe
from newbie_ui.demo.data import load_shard, shard_paths
from newbie_ui.demo.evaluate import MANNERS, captions_of, held_out_scenes, make_pictures
from newbie_ui.demo.flow import FlowNetworks, FlowTraining, write_curve
from newbie_ui.demo.lora import train_lora
from newbie_ui.demo.networks import build_autoencoder, build_clip, build_gemma, build_transformer, parameters_of
from newbie_ui.demo.reader import Reader, train_reader
from newbie_ui.demo.weights_folder import build_pipeline, export, save_reader, start_from

log = logging.getLogger("newbie_ui.demo.train")

STAGES = ("draw", "autoencoder", "encode", "reader", "flow", "lora", "export")


class Training:
    """The work folder, the networks and what the stages share."""

    def __init__(self, given: argparse.Namespace):
        self.given = given
        self.recipe = load_recipe(given.recipe, tuple(given.set))
        self.work, self.out = given.work, given.out or given.work / "out"
        self.shards = self.work / "shards"
        self.out.mkdir(parents=True, exist_ok=True)
        self.device = ranks.start(given.device)
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(self.recipe.seed)
        torch.set_float32_matmul_precision("high")
        self.vae, self.reader = build_autoencoder(self.recipe), Reader(self.recipe.reader.channels)
        self.networks = FlowNetworks(build_transformer(self.recipe), build_gemma(self.recipe), build_clip(self.recipe))
        self.modules = {"vae": self.vae, "reader": self.reader, **self.networks.modules()}
        for folder in (given.start, self.work / "weights"):
            if folder and folder.exists():
                load = start_from if (folder / "model_index.json").exists() else handover.load_weights
                self._take(load(folder, self.modules))
        for module in (self.vae, self.reader):
            module.to(self.device).eval()
        self.deadline = time.monotonic() + given.seconds
        self.used: dict[str, float] = {}

    def _take(self, numbers: dict[str, float]) -> None:
        if numbers:
            self.vae.register_to_config(shift_factor=numbers["shift"], scaling_factor=numbers["scale"])

    def hand_over(self) -> None:
        numbers = {"shift": self.vae.config.shift_factor, "scale": self.vae.config.scaling_factor}
        if ranks.number() == 0:
            for folder in (self.work / "weights", self.out):
                handover.save_weights(folder, self.modules, numbers)
        ranks.wait()

    # ---- stages
    def draw(self) -> None:
        """In its own process, beside the stages that follow: they need the GPU, this needs the other cores."""
        if ranks.number() > 0:
            return
        command = [sys.executable, "-m", "newbie_ui.demo.data", "--folder", str(self.shards)]
        command += ["--recipe", str(self.given.recipe), "--workers", str(self.given.workers)]
        self.artist = subprocess.Popen([*command, *(f"--set={change}" for change in self.given.set)])
        if self.given.stages[-1] == "draw" and self.artist.wait():
            raise SystemExit("Drawing failed: see the message above.")

    def _wait_for(self, kind: str, numbers: Iterable[int]) -> list[Path]:
        """Shards of a kind by their numbers, once they are drawn: several are drawn at once and end in any order."""
        wanted = [self.shards / f"{kind}_{number:04d}" for number in numbers]
        artist, patience = getattr(self, "artist", None), time.monotonic() + 300
        while missing := sorted({*wanted}.difference(shard_paths(self.shards, kind))):
            if time.monotonic() > patience or (artist is not None and artist.poll() is not None):
                found = f"{len(wanted) - len(missing)} of {len(wanted)} {kind} shards in {self.shards}"
                raise SystemExit(f"{found}, no {missing[0].name}. Run the stage draw first.")
            time.sleep(0.2)
        return wanted

    def _test_pixels(self) -> torch.Tensor:
        return load_pixels(self._wait_for("test", [0]), self.device)[:200]

    def autoencoder(self) -> None:
        paths = self._wait_for("train", range(self.recipe.autoencoder.shards))
        curve = train_autoencoder(self.vae, self.recipe, paths, self.device)
        self.vae.eval()
        shift, scale = fit_statistics(self.vae, load_pixels(paths[:1], self.device)[:1000])
        if ranks.number() == 0:
            write_curve(self.out / "autoencoder.csv", curve)
            quality = measure_psnr(self.vae, self._test_pixels())
            log.info("autoencoder: %.2f dB held out, shift %.3f scale %.3f", quality, shift, scale)

    def encode(self) -> None:
        """Latents of all shards in half precision, each in its own file."""
        fast = copy.deepcopy(self.vae)
        if self.device.type == "cuda":
            fast.to(torch.bfloat16)
        for kind, count in (("train", self.recipe.draw.shards), ("ink", self.recipe.lora.shards)):
            for number in ranks.share(range(count)):
                [path] = self._wait_for(kind, [number])
                pixels = torch.from_numpy(load_shard(path)["pixels"].copy())
                latents = [encode_pixels(fast, part.to(self.device)).bfloat16() for part in pixels.split(250)]
                torch.save(torch.cat(latents).cpu(), path.with_suffix(".latents"))
        ranks.wait()

    def _data(self, kind: str, count: int) -> dict[str, torch.Tensor]:
        parts: dict[str, list[torch.Tensor]] = {"latents": [], "tokens": [], "heads": []}
        for path in self._wait_for(kind, range(count)):
            shard = load_shard(path)
            parts["latents"].append(torch.load(path.with_suffix(".latents"), weights_only=True).to(self.device))
            for name in ("tokens", "heads"):
                parts[name].append(torch.from_numpy(shard[name]).to(self.device))
        return {name: torch.cat(values) for name, values in parts.items()}

    def train_reader(self) -> None:
        paths = self._wait_for("train", range(self.recipe.reader.shards))
        shards = [load_shard(path) for path in paths]
        data = {
            name: torch.cat([torch.from_numpy(shard[name].copy()) for shard in shards]).to(self.device)
            for name in ("heads", "labels", "picture_labels")
        }
        data["pixels"] = load_pixels(paths, self.device)
        fast = copy.deepcopy(self.vae)
        if self.device.type == "cuda":
            fast.to(torch.bfloat16)
        seen = data["pixels"][: len(data["pixels"]) // 8]
        again = torch.cat([decode_latents(fast, encode_pixels(fast, part)) for part in seen.split(100)])
        train_reader(self.reader, self.recipe, data, again, self.device)
        if ranks.number() == 0:
            save_reader(self.out / "reader", self.reader, self.recipe)

    def flow(self) -> None:
        training = FlowTraining(self.networks, self.recipe, self._data("train", self.recipe.draw.shards), self.device)
        state = self.work / "flow.pt"
        if (self.work / "flow.pt.0").exists():
            training.load(state)

        def report(step: int) -> None:
            training.swap_average()
            self.sheet(f"step_{step:06d}.webp")
            training.swap_average()

        done = training.run(self.deadline - time.monotonic(), report)
        training.save(state)
        training.swap_average()
        if ranks.number() == 0:
            write_curve(self.out / "flow.csv", training.curve)
            rate = training.step * self.recipe.flow.batch / max(training.spent, 1e-9)
            log.info("flow: step %d, %.0f s, %.0f samples/s", training.step, training.spent, rate)
            log.info("flow is finished" if done else "flow is to be continued: run the stage flow again")

    def lora(self) -> None:
        if ranks.number() == 0:
            data, name = self._data("ink", self.recipe.lora.shards), "demo_ink.safetensors"
            start = self.given.start / name if self.given.start and (self.given.start / name).exists() else None
            train_lora(self.networks, self.recipe, data, self.device, self.out / name, start)

    def export(self) -> None:
        if ranks.number() == 0:
            latents = encode_pixels(self.vae, self._test_pixels()[:32])
            pipe = build_pipeline(self.recipe, self.networks, self.vae, self.work / "tokenizer").to(self.device)
            export(self.work / "model", pipe, self.reader, self.recipe, latents)

    @torch.no_grad()
    def sheet(self, name: str) -> None:
        """Sixteen held-out prompts with fixed seeds, as one picture."""
        if ranks.number() > 0:
            return
        pipe = build_pipeline(self.recipe, self.networks, self.vae, self.work / "tokenizer").to(self.device)
        texts = [text for n in (1, 2, 3, 4) for text in captions_of(held_out_scenes(n, 4), MANNERS["xml"])]
        with torch.compiler.set_stance("force_eager"):
            images = to_pixels(make_pictures(pipe, texts, 16)).numpy()
        side = images.shape[1]
        page = Image.new("RGB", (4 * side, 4 * side))
        for i, image in enumerate(images):
            page.paste(Image.fromarray(image), (i % 4 * side, i // 4 * side))
        page.save(self.out / name, quality=80)

    def run(self) -> None:
        actions = {"reader": self.train_reader}
        for stage in self.given.stages:
            started = time.monotonic()
            (actions.get(stage) or getattr(self, stage))()
            self.used[stage] = round(time.monotonic() - started, 1)
            if ranks.number() == 0:
                log.info("stage %s took %.1f s", stage, self.used[stage])
            if stage in ("autoencoder", "reader", "flow"):
                self.hand_over()
        facts = {"seconds": self.used, "parameters": {n: parameters_of(m) for n, m in self.modules.items()}}
        if self.device.type == "cuda":
            peak = round(torch.cuda.max_memory_allocated() / 1e9, 2)
            facts |= {"gpu": torch.cuda.get_device_name(), "gpus": ranks.count(), "peak_gb": peak}
        if ranks.number() == 0:
            print(json.dumps(facts))
        ranks.stop()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.demo.train", description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, latents and state")
    parser.add_argument("--out", type=Path, help="folder for what is handed over")
    parser.add_argument("--start", type=Path, help="an earlier --out to start from, or a shipped model")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change the recipe")
    parser.add_argument("--stages", default=",".join(STAGES), help="comma-separated")
    parser.add_argument("--seconds", type=float, default=1e9, help="the flow stops this long after the start")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="processes that draw")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(argv)
    given.stages = tuple(given.stages.split(","))
    if unknown := set(given.stages) - set(STAGES):
        parser.error(f"unknown stages: {', '.join(sorted(unknown))}; choose from {', '.join(STAGES)}")
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(
        level=logging.INFO if first else logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    Training(given).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
