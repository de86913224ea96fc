"""The pipeline as a plan wants it: weights read, 8-bit, placed, compiled, tiled, threads set.

`use(plan)` applies the difference between the present plan and another; weights are read again only where the plan
asks for others (number format, 8 bit). Everything is applied from outside the pipeline and can be taken back. Used by
the engine's worker thread only; does not know jobs or requests.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
import torch
from diffusers import FirstBlockCacheConfig

from newbie_ui.engine import attention, compile, quantize, stripes
from newbie_ui.engine.graphs import GraphedForward
from newbie_ui.engine.measure import GB, len_cores
from newbie_ui.engine.pairs import SideBySide
from newbie_ui.engine.placement import STAYING, Placement
from newbie_ui.engine.plan import Plan
from newbie_ui.model import products
from newbie_ui.model.attention import NewbieAttention
from newbie_ui.model.blocks import FeedForward
from newbie_ui.model.fit import CAPTION_BUCKETS, bucket_for
from newbie_ui.model.lora import LoraSet
from newbie_ui.model.lora_files import LoraShelf
from newbie_ui.model.pipeline import NewbiePipeline
from newbie_ui.request import SIZE_MULTIPLE

log = logging.getLogger(__name__)

Progress = Callable[[str, "float | None"], None]
Places = Mapping[str, torch.device]  # part → where it is read to; others to the processor
Load = Callable[[torch.dtype, Progress, Places], NewbiePipeline]

PARTS = ("text_encoder", "clip_model", "transformer", "vae")


class Rig:
    """Owns the pipeline.

    Args:
        load: reads it in a number format, each part to its place.
        device: where it computes.
        progress: told what is being done, when that takes a while.
        shelf: where LoRA files are found by name.
    """

    def __init__(self, load: Load, device: torch.device, progress: Progress, shelf: LoraShelf | None = None):
        self._load, self.device, self._progress = load, device, progress
        self._shelf = shelf or LoraShelf(Path("loras"))
        self._loras: LoraSet | None = None
        self._pair: SideBySide | None = None
        self._graphs: GraphedForward | None = None
        self._split: bool | None = None  # as the pipeline came
        self.pipe: NewbiePipeline | None = None
        self.plan: Plan | None = None
        self.placement: Placement | None = None
        self.compiled = compile.CompileState()
        self.attention = "native"

    def use(self, plan: Plan) -> None:
        """Make the pipeline what the plan says."""
        if plan == self.plan:
            return
        before, self.plan = self.plan, None  # a failure half-way leaves no plan that claims to be applied
        if plan.compile != "off" or plan.compile_vae or self.device.type == "cuda":  # attention kernels compile too
            compile.use_disk_cache()
        if self.pipe is None or before is None or before.weights != plan.weights:
            self._read(plan)
            before = None
        self._threads(plan)
        if before is not None and before.step_cache:  # its hooks lie around what may be compiled
            self.pipe.transformer.disable_cache()
        self._compile(before, plan)
        if before is None or before.offload != plan.offload:
            self._place(plan)
        if plan.step_cache:
            self.pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=plan.step_cache))
        self._record_steps(plan)
        self.pipe.split_guidance = True if plan.split_guidance else self._split
        if plan.attention != "auto":
            self.use_attention(plan.attention)
        self.plan = plan

    def use_attention(self, name: str) -> None:
        """Change the attention kernel; compiled blocks notice and build another graph."""
        if name == self.attention:
            return
        self.forget_graphs()
        attention.use(self.pipe.transformer, name)
        self.attention = name

    def use_loras(self, wanted: Sequence[tuple[str, float]]) -> tuple[tuple[str, float, str], ...]:
        """Let exactly these (name, weight) act, none for (). Returns them with their hashes; raises LoraError."""
        if self._loras is None:
            if not wanted:
                return ()
            self._loras = LoraSet(self.pipe.transformer, self._shelf, self.device)
        before = self._loras.used
        used = self._loras.use(wanted)
        if used != before:
            self.forget_graphs()
        return used

    def tune_attention(self, tokens: int) -> None:
        """With "auto": measure the kernels for this length and take the fastest."""
        if self.plan.attention == "auto":
            config, dtype = self.pipe.transformer.config, getattr(torch, self.plan.dtype)
            heads = (config.n_heads, config.n_kv_heads or config.n_heads)
            shape = (heads, config.dim // config.n_heads, tokens)
            padded = self.pipe.caption_buckets is not None
            self.use_attention(attention.fastest(self.device, dtype, *shape, padded=padded))

    def bucket_for(self, lengths: Sequence[int], pictures: int = 1) -> int:
        """The caption length that graphs are made for, given all texts of some pictures.

        Of the longest one; or where all lie in one row, of those of a picture together.
        """
        pipe = self.pipe
        if pipe.caption_buckets and pipe.transformer.packs and not pipe.split_guidance:
            return bucket_for(-(-sum(lengths) // pictures))
        return bucket_for(max(lengths))

    def tile(self, pixels: int) -> bool:
        """Switch decoding in stripes for a picture of this many pixels; returns whether it is on."""
        vae, tiled = self.pipe.vae, self.plan.tiling == "on"
        if self.plan.tiling == "auto":
            tiled = self._room_bytes() < decode_bytes(pixels, vae)
        stripes.enable(vae) if tiled else stripes.disable(vae)
        return tiled

    def close(self) -> None:
        """Let go of everything."""
        if self.placement is not None:
            self.placement.release()
        self._release_pair()
        self._stop_recording()
        self.pipe = self.plan = self.placement = self._loras = None
        self.free()

    def free(self) -> None:
        """Give unused memory back to the device."""
        self.forget_graphs()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def forget_graphs(self) -> None:
        """Steps are recorded anew after this."""
        if self._graphs is not None:
            self._graphs.forget()

    # ---- one setting each --------------------------------------------------------------------------------------

    def _read(self, plan: Plan) -> None:
        if self.pipe is not None:
            log.info("reading the weights again for preset %s", plan.preset)
            self.close()
        dtype = getattr(torch, plan.dtype)
        pipe = self._load(dtype, self._progress, self._places(plan))
        pipe.set_progress_bar_config(disable=True)
        if plan.quantize != "off":
            self._progress(f"Converting the transformer to {plan.quantize}", None)
            quantize.quantize_transformer(pipe.transformer, plan.quantize, self.device)
        if plan.quantize_text != "off":
            self._progress(f"Converting the text encoder to {plan.quantize_text}", None)
            quantize.quantize_text_encoder(pipe.text_encoder, plan.quantize_text, self.device)
        self.pipe, self._split, self.attention = pipe, pipe.split_guidance, "native"
        attention.use(pipe.transformer, self.attention)

    def _places(self, plan: Plan) -> Places:
        """Parts that stay on the device are read straight to it, unless something is made of their weights first."""
        changed = {"transformer": plan.quantize != "off", "text_encoder": plan.quantize_text != "off"}
        return {name: self.device for name in STAYING[plan.offload] if not changed.get(name)}

    def _place(self, plan: Plan) -> None:
        self._progress("Moving the model to its place", None)
        if self.placement is not None:
            self.placement.release()
        self.part_products()
        if "transformer" in STAYING[plan.offload]:
            self._join_products()
        if self.placement is None:
            parts = {name: getattr(self.pipe, name) for name in PARTS}
            self.placement = Placement(parts, self.device, plan.offload)
        else:
            self.placement.move_to(plan.offload)
        self.free()

    def _join_products(self) -> None:
        """Let blocks that are to stay on the device use products that do more than multiply, where there are any.

        Joined before the rest moves up: single matrices that come to the device leave gaps that no joint one fits in.
        """
        for module in _joinable(self.pipe.transformer):
            if products.usable(self.device, module.product_dtype):
                module.join(self.device)

    def part_products(self) -> None:
        """Before weights are moved, or changed for others."""
        for module in _joinable(self.pipe.transformer):
            module.part()

    def _compile(self, before: Plan | None, plan: Plan) -> None:
        if before is not None and _compile_settings(before) == _compile_settings(plan):
            return
        compile.undo(self.pipe.transformer)
        compile.undo(self.pipe.vae)
        if plan.compile == "block":
            compile.compile_blocks(self.pipe.transformer, plan.compile_mode, inside_hooks=plan.step_cache > 0)
        if plan.compile_vae:
            compile.compile_decoder(self.pipe.vae)
        self.compiled.reset(plan.compile != "off")
        self.pipe.caption_buckets = CAPTION_BUCKETS if plan.compile != "off" else None

    def _record_steps(self, plan: Plan) -> None:
        """Steps as CUDA graphs, where nothing moves between them and all are alike."""
        self._stop_recording()
        still = plan.offload in ("off", "encoders") and not plan.step_cache
        if plan.graph_side and still and self.device.type == "cuda":
            self._graphs = GraphedForward(self.pipe.transformer, 2 * (plan.graph_side // SIZE_MULTIPLE) ** 2)

    def _stop_recording(self) -> None:
        if self._graphs is not None:
            self._graphs.remove()
            self._graphs = None

    def _threads(self, plan: Plan) -> None:
        told = os.environ.get("OMP_NUM_THREADS", "")
        threads = plan.threads or (int(told) if told.isdigit() and int(told) else len_cores())
        torch.set_num_threads(threads)
        # A compiler and a step cache keep state that two passes at once would share.
        apart = self.device.type == "cpu" and threads > 1 and plan.compile == "off" and not plan.step_cache
        self._release_pair()
        self._pair = SideBySide(threads) if apart else None
        self.pipe.guidance_pair = self._pair
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high" if plan.tf32 else "highest")

    def _release_pair(self) -> None:
        if self._pair is not None:
            self._pair.close()
            self._pair = None

    def _room_bytes(self) -> float:
        """What is free, or less where the plan wants to stay below a peak."""
        free = self._free_bytes()
        if self.plan.peak_gb and self.device.type == "cuda":
            free = min(free, self.plan.peak_gb * GB - torch.cuda.memory_allocated(self.device))
        return free

    def _free_bytes(self) -> float:
        if self.device.type == "cuda":
            reserved, allocated = torch.cuda.memory_reserved(self.device), torch.cuda.memory_allocated(self.device)
            free, total = torch.cuda.mem_get_info(self.device)
            allowed = torch.cuda.get_per_process_memory_fraction(self.device) * total - reserved
            return min(free, allowed) + reserved - allocated
        return psutil.virtual_memory().available


def _joinable(transformer: torch.nn.Module) -> list[FeedForward | NewbieAttention]:
    return [module for module in transformer.modules() if isinstance(module, (FeedForward, NewbieAttention))]


def decode_bytes(pixels: int, vae: torch.nn.Module) -> float:
    """Roughly what decoding a whole picture takes beyond the weights.

    2.4 GiB were measured for the FLUX VAE (128 channels at full size, bf16) at 1024×1024; it grows with pixels,
    channels and bytes a number.
    """
    width = vae.config.block_out_channels[0] / 128
    return 2.4 * 2**30 * (pixels / 1024**2) * width * (vae.dtype.itemsize / 2)


def _compile_settings(plan: Plan) -> tuple[object, ...]:
    return (plan.compile == "block", plan.compile_vae, plan.compile_mode, plan.step_cache > 0)
