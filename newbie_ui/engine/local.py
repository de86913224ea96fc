"""`LocalEngine`: the real engine. One worker thread owns the device and one pipeline, loaded once.

Promises, beyond those of `QueuedEngine`: an unchanged prompt is not encoded again; every picture carries its stage
times, its peak memory and the facts of how it was made; running out of memory steps down the ladder of `plan.py`,
finishes the picture and says what was done; a preset is changed between pictures without reading the weights again
where that is possible. A picture depends on its own prompt and seed alone, not on its batch.

How a job goes: `_make` cuts it into batches; `_batch` runs encode → denoise → decode. The ladder is climbed down in
`_make` (the batch starts over) and in `_decode` (the latents are kept).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from newbie_ui.engine import ahead
from newbie_ui.engine.base import PictureSink, PresetChoice
from newbie_ui.engine.choices import preset_choices
from newbie_ui.engine.compile import nothing_compiled
from newbie_ui.engine.embeddings import EmbeddingCache
from newbie_ui.engine.fitting import Fitting
from newbie_ui.engine.history import History, Measurement
from newbie_ui.engine.jobs import Job
from newbie_ui.engine.measure import Pacer, PeakMemory, Stopwatch, describe_device, find_device, memory_now
from newbie_ui.engine.memory import device_is_lost, is_out_of_memory, no_room, too_small
from newbie_ui.engine.plan import Plan
from newbie_ui.engine.progress import Eta
from newbie_ui.engine.queued import DeviceLost, QueuedEngine, new_picture_id
from newbie_ui.engine.resolve import FULL_SIZE_DEFAULTS, resolve, wildcard_problems
from newbie_ui.engine.rig import Rig
from newbie_ui.engine.source import ModelSource, lora_folders
from newbie_ui.engine.stages import EncodedRow, Shape, Stages, check_size, schedule_of, shapes_to_warm
from newbie_ui.errors import EngineError, UserError
from newbie_ui.model.lora_files import LoraShelf
from newbie_ui.model.text import count_tokens
from newbie_ui.presets import AUTO, Preset, load_presets
from newbie_ui.request import (
    Encoded,
    Event,
    GenerateRequest,
    GenerateResult,
    Loading,
    Memory,
    Picture,
    ResolvedRequest,
    Step,
    Timings,
)
from newbie_ui.settings import Settings

log = logging.getLogger(__name__)


@dataclass
class _Batch:
    """Pictures made together, and what was measured on the way."""

    job: Job
    rows: Sequence[ResolvedRequest]
    first: int  # number of the first picture within the job
    queue_s: float
    watch: Stopwatch
    peak: PeakMemory
    began: float
    texts: Sequence[EncodedRow] = ()
    cold: bool = False  # a graph had to be compiled
    as_written: bool = False  # it was left for later


class LocalEngine(QueuedEngine):
    """See the module's docstring.

    Args:
        settings: which model, presets, device, folders.
        sink: stores each picture before it is announced.
        source: another model than the settings name, e.g. one built in memory.
        history: where measured times are kept; by default in the output folder.
        presets: other ones than the files in the settings' folder.
        limits: `max_waiting`, `max_per_client`, `keep_ended`, see `JobBoard`.
    """

    def __init__(
        self,
        settings: Settings,
        sink: PictureSink | None = None,
        *,
        source: ModelSource | None = None,
        history: History | None = None,
        presets: Sequence[Preset] | None = None,
        **limits: int,
    ):
        super().__init__(sink, **limits)
        self._settings = settings
        self._source = source or ModelSource.from_settings(settings)
        self._presets = load_presets(settings.presets_dir) if presets is None else tuple(presets)
        self._shelf = LoraShelf(*lora_folders(settings))
        self._history = History(settings.output_dir) if history is None else history
        self._cache = EmbeddingCache()
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._counting = threading.Lock()  # a tokenizer is not for two threads at once
        self._fitting: Fitting | None = None
        self._rig: Rig | None = None
        self._stages: Stages | None = None
        self._decode_s: float | None = None
        self._to_warm: list[Shape] = []
        self._written: set[Shape] = set()  # shapes that had a picture before they were compiled
        self._decoders: list[tuple[int, int]] = []  # sizes whose decoder is to be compiled after that
        self._freed = False

    # ---- the rest of the protocol ------------------------------------------------------------------------------

    def presets(self, request: GenerateRequest | None = None) -> tuple[PresetChoice, ...]:
        if self.device is None:
            return ()
        return preset_choices(self._presets, self.device, self.model, self._history, request)

    def loras(self) -> tuple[str, ...]:
        return self._shelf.names()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        if self._tokenizer is None:
            raise EngineError("The engine is still opening. Tokens can be counted in a moment.")
        with self._counting:
            return count_tokens(self._tokenizer, texts)

    @property
    def rig(self) -> Rig:
        """The pipeline as it is set up now, for the bench: to be touched only while no job runs."""
        if self._rig is None or self._rig.pipe is None:
            raise EngineError("The engine is still opening.")
        return self._rig

    @property
    def warming(self) -> bool:
        """Whether shapes are compiled now or will be in the next quiet moment."""
        return bool(self._to_warm or self._decoders)

    # ---- hooks of QueuedEngine ---------------------------------------------------------------------------------

    def _load(self) -> None:
        device = find_device(self._settings.device)
        self.device = describe_device(device)
        if device.type == "cuda":
            ahead.import_packages()
        self._loading("Looking at the model")
        self.model = self._source.describe(self._loading)
        log.info("model %s on %s (%.1f GB)", self.model.name, self.device.name, self.device.total_gb)
        self._tokenizer = self._source.tokenizer()
        self._rig = Rig(self._source.load, device, self._loading, self._shelf)
        self._stages = Stages(self._rig, self._cache)
        self._fitting = Fitting(self._presets, self._settings.preset, self.device, self.model.demo)
        self._use(self._fitting.plan(self._fitting.preset(AUTO)))

    def _unload(self) -> None:
        self._cache.clear()
        if self._rig is not None:
            self._rig.close()

    def _admit(self, request: GenerateRequest) -> GenerateRequest:
        """Refuse now what would fail later: LoRA, preset, sampler and steps, size."""
        for use in request.loras:
            self._shelf.path(use.name)
        if self._fitting is not None:
            row = resolve(request, self.model, self._fitting.preset(request.preset).name)[0]
            schedule_of(row)
            if self._rig is not None and self._rig.pipe is not None:
                check_size(row, self._rig.pipe.transformer.config.axes_lens)
        return request

    def _estimate_s(self, request: GenerateRequest) -> float | None:
        if self._fitting is None:
            return None
        try:
            preset = self._fitting.preset(request.preset).name
        except UserError:
            return None
        width, height, steps = (
            getattr(request, name) or self.model.defaults.get(name, FULL_SIZE_DEFAULTS[name])
            for name in ("width", "height", "steps")
        )
        known = self._history.estimate(self.model.name, preset, self.device.name, width, height, steps)
        return None if known is None else known.seconds * request.images

    def _memory(self) -> Memory:
        return Memory() if self.device is None else memory_now(self.device)

    def _compile_state(self) -> str:
        return "off" if self._rig is None else self._rig.compiled.state

    def _facts(self) -> dict[str, str]:
        facts = {"embedding_cache": f"{self._cache.hits} hits, {self._cache.misses} misses"}
        plan = self._rig.plan if self._rig is not None else None
        return facts if plan is None else {**facts, "preset": plan.preset, "attention": self._rig.attention}

    def _has_idle_work(self) -> bool:
        self._to_warm = [shape for shape in self._to_warm if self._rig.compiled.is_cold(shape)]
        return self.warming

    def _idle_work(self) -> None:
        started = time.perf_counter()
        if self._to_warm:
            shape = self._to_warm[0]
            self._message = f"Compiling for {shape.width}×{shape.height} and prompts up to {shape.bucket} tokens"
            self._rig.compiled.begin(shape)
            self._rig.use_loras(())  # graphs differ with them
            self._rig.forget_graphs()  # of steps as written
            self._stages.warm(shape)
            self._rig.compiled.done(shape)
            self._to_warm.pop(0)
        else:
            width, height = self._decoders[0]
            self._message = f"Compiling the decoder for {width}×{height}"
            self._stages.warm_decoder(width, height)
            self._decoders.pop(0)
        log.info("%s took %.1f s", self._message, time.perf_counter() - started)

    def _drop_idle_work(self) -> None:
        self._to_warm.clear()
        self._decoders.clear()
        self._rig.compiled.give_up()
        self._rig.free()

    def _make(self, job: Job) -> Iterator[Event]:
        queue_s = time.perf_counter() - job.submitted
        preset = self._fitting.preset(job.request.preset)
        rows = list(resolve(job.request, self.model, preset.name, wildcard_dir=self._settings.wildcard_dir))
        check_size(rows[0], self._rig.pipe.transformer.config.axes_lens)
        self._use(self._fitting.plan(preset, rows[0].width * rows[0].height))
        loras = self._rig.use_loras([(use.name, use.weight) for use in job.request.loras])
        rows = [replace(row, loras=loras) for row in rows]
        self._freed = False
        done = 0
        while done < len(rows) and not (done and job.finish_asked):
            batch = rows[done : done + self._rig.plan.batch]
            stuck_at = None
            try:
                yield from self._batch(job, batch, done, queue_s)
            except Exception as error:
                stuck_at = self._stage_if_out_of_memory(error)
            # Outside the handler: the failed batch's tensors are gone now.
            if stuck_at is None:
                done += len(batch)
            else:
                self._climb_down(stuck_at, rows[0])

    # ---- one batch ---------------------------------------------------------------------------------------------

    def _batch(self, job: Job, rows: Sequence[ResolvedRequest], first: int, queue_s: float) -> Iterator[Event]:
        watch = Stopwatch(self._rig.device)
        with PeakMemory(self.device) as peak:
            batch = _Batch(job, rows, first, queue_s, watch, peak, time.perf_counter())
            yield from self._encode(batch)
            latents = yield from self._denoise(batch)
            if latents is None:
                return  # skipped
            shared_s = time.perf_counter() - batch.began
            for number, row in enumerate(rows):
                started = time.perf_counter()
                image, tiled = self._decode(latents[number : number + 1], row)
                decode_s = self._decode_s = time.perf_counter() - started
                timings = _timings(batch, shared_s, decode_s)
                yield self._picture(batch, number, image, timings, tiled)

    def _encode(self, batch: _Batch) -> Iterator[Event]:
        self._stage = "encode"
        with batch.watch.stage("encode"):
            batch.texts = self._stages.encode(batch.rows)
        text = batch.texts[0]
        if batch.first == 0:
            problems = wildcard_problems(batch.rows[0], self._settings.wildcard_dir)
            yield Encoded(
                batch.job.id,
                tokens=text.positive.tokens,
                seconds=batch.watch.seconds["encode"],
                cached=text.cached,
                warning=" ".join(filter(None, (text.positive.warning, problems))),
            )

    def _denoise(self, batch: _Batch) -> Iterator[Event]:
        """Yields steps; returns the latents (B, C, h, w), or None when the pictures were skipped."""
        self._stage = "denoise"
        job, rows, compiled = batch.job, batch.rows, self._rig.compiled
        shape = self._stages.shape(rows, batch.texts)
        batch.as_written = self._as_written(shape)
        batch.cold = compiled.is_cold(shape) and not batch.as_written
        if batch.cold:
            self._rig.forget_graphs()  # of steps as written
            compiled.begin(shape)
            yield Loading(job.id, message=f"Compiling for {rows[0].width}×{rows[0].height}, once")
        eta = Eta(len(rows), job.request.images - batch.first - len(rows), self._decode_s, batch.cold)
        pacer, previewed, latents = Pacer(self._rig.device), time.perf_counter(), None
        with batch.watch.stage("denoise"), nothing_compiled() if batch.as_written else nullcontext():
            for step in self._stages.denoise(rows, batch.texts):
                pacer.step()
                latents, preview = step.latents, None
                if step.index < step.total and time.perf_counter() - previewed >= self._rig.plan.preview_s:
                    preview, previewed = self._stages.preview(step), time.perf_counter()
                yield Step(
                    job.id,
                    index=step.index,
                    total=step.total,
                    picture=batch.first,
                    pictures=job.request.images,
                    eta_s=eta.after_step(step.index, step.total),
                    preview=preview,
                )
                if job.take_skip():
                    return None
        if not batch.as_written:
            compiled.done(shape)
        return latents

    def _as_written(self, shape: Shape) -> bool:
        """Whether this shape is not to be compiled now: the first picture of a shape does not wait for that.

        It runs as written then, and the shape is compiled in a quiet moment, or for its next picture.
        """
        first = self._rig.compiled.is_cold(shape) and shape not in self._written
        if not first or shape.loras or not self._rig.plan.warm:
            return False
        self._written.add(shape)
        if shape not in self._to_warm:
            self._to_warm.insert(0, shape)
        return True

    def _decode(self, latents: Tensor, row: ResolvedRequest) -> tuple[Image.Image, bool]:
        """One picture at a time, so that decoding a batch needs no more memory than decoding one."""
        self._stage = "decode"
        # The decoder takes long to compile: while that is still to be done in a quiet moment, the picture goes first.
        later = (row.width, row.height) in self._decoders
        while True:
            try:
                return self._stages.decode(latents, row, eager=later)
            except Exception as error:
                self._stage_if_out_of_memory(error)
            self._climb_down("decode", row)

    def _picture(self, batch: _Batch, number: int, image: Image.Image, timings: Timings, tiled: bool) -> Picture:
        row, memory = batch.rows[number], batch.peak.so_far()
        facts = self._picture_facts(batch, tiled)
        result = GenerateResult(new_picture_id(), row, timings, memory, time.time(), facts, image)
        self._history.add(
            Measurement(
                model=row.model,
                preset=row.preset,
                width=row.width,
                height=row.height,
                steps=row.steps,
                device=self.device.name,
                seconds=timings.total_s - timings.queue_s,
                denoise_s=timings.denoise_s,
                peak_gb=memory.reserved_gb if memory.reserved_gb is not None else memory.resident_gb,
                images=len(batch.rows),
                cold=batch.cold,
            )
        )
        return Picture(batch.job.id, result=result, index=batch.first + number, pictures=batch.job.request.images)

    def _picture_facts(self, batch: _Batch, tiled: bool) -> dict[str, str]:
        plan, rig = self._rig.plan, self._rig
        state = "as written" if batch.as_written else "cold" if batch.cold else "warm"
        compiled = "off" if plan.compile == "off" else f"{plan.compile}, {state}"
        facts = {
            "device": self.device.name,
            "dtype": plan.dtype,
            "attention": rig.attention,
            "compile": compiled,
            "embedding_cache": "hit" if batch.texts[0].cached else "miss",
            "vae": "in stripes" if tiled else "whole",
            "offload": plan.offload,
            "batch": str(len(batch.rows)),
        }
        eight_bit = [f"transformer {plan.quantize}"] if plan.quantize != "off" else []
        eight_bit += [f"text encoder {plan.quantize_text}"] if plan.quantize_text != "off" else []
        optional = {"8bit": ", ".join(eight_bit), "notes": "; ".join(plan.notes)}
        optional["warning"] = batch.texts[0].positive.warning
        return {**facts, **{name: value for name, value in optional.items() if value}}

    # ---- running out of memory ---------------------------------------------------------------------------------

    def _stage_if_out_of_memory(self, error: Exception) -> str:
        """The stage that ran out of memory; any other error is raised again."""
        if is_out_of_memory(error):
            log.warning("out of memory in %s: %s", self._stage, str(error)[:200] or type(error).__name__)
            return self._stage
        if device_is_lost(self._rig.device):
            raise DeviceLost from error
        raise error

    def _climb_down(self, stage: str, row: ResolvedRequest) -> None:
        """Free what can be freed; the second time, go one rung down. Raises OutOfMemory at the bottom."""
        self._rig.free()
        if not self._freed:
            self._freed = True
            return
        plan = self._fitting.lower(self._rig.plan, stage, row.width * row.height)
        if plan is None:
            raise too_small(row, self._rig.plan.notes)
        self._use(plan)

    def _use(self, plan: Plan) -> None:
        """Apply a plan, or the first one below it that fits. Raises OutOfMemory at the bottom."""
        if plan == self._rig.plan:
            return
        while True:
            try:
                self._rig.use(plan)
                self._to_warm = shapes_to_warm(plan, self.model.sizes)
                self._written.clear()
                sizes = dict.fromkeys((shape.width, shape.height) for shape in self._to_warm)
                self._decoders = list(sizes) if plan.compile_vae else []
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._rig.close()
            name, plan = plan.preset, self._fitting.lower(plan, "encode")
            if plan is None:
                raise no_room(name)


def _timings(batch: _Batch, shared_s: float, decode_s: float) -> Timings:
    """A picture's part of its batch. `shared_s` is all that came before decoding, bookkeeping included."""
    together = len(batch.rows)
    return Timings(
        queue_s=batch.queue_s,
        encode_s=batch.watch.seconds["encode"] / together,
        denoise_s=batch.watch.seconds["denoise"] / together,
        decode_s=decode_s,
        total_s=batch.queue_s + shared_s / together + decode_s,
        steps=batch.rows[0].steps,
    )
