"""`FakeEngine`: the whole Engine protocol without a model, for page design, tests and demonstrations of failures.

Queue, events, previews, cancel, skip, finish and states are the real machinery (`queued.py`, `jobs.py`). Only the
pictures are not: each is a test pattern computed from (prompt, seed, size), and says so in large letters. Same
request and seed, same pixels. Its stage times are what it really slept, and its presets' figures come from them.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from newbie_ui.engine.base import DeviceInfo, ModelInfo, PictureSink, PresetChoice
from newbie_ui.engine.choices import preset_choices
from newbie_ui.engine.history import History, Measurement
from newbie_ui.engine.jobs import Job
from newbie_ui.engine.queued import QueuedEngine, new_picture_id
from newbie_ui.engine.resolve import resolve
from newbie_ui.presets import load_presets
from newbie_ui.request import (
    DEFAULT_SYSTEM_PROMPT,
    Encoded,
    Event,
    GenerateRequest,
    GenerateResult,
    Memory,
    Picture,
    ResolvedRequest,
    Step,
    Timings,
)
from newbie_ui.settings import PROJECT

PREVIEW_PIXELS = 192

FAKE_MODEL = ModelInfo(
    name="Test pattern",
    source="no model",
    licence="none: these are test patterns",
    demo=True,
    hash="0000000000",
    sizes=((256, 256), (256, 384), (384, 256), (1024, 1024)),
    defaults={
        "width": 256,
        "height": 256,
        "steps": 20,
        "guidance_scale": 4.5,
        "shift": 6.0,
        "system_prompt": DEFAULT_SYSTEM_PROMPT,
    },
    vocabulary=("1girl", "2girls", "blue_hair", "pink_hair", "smile", "school_uniform", "outdoors"),
)


@dataclass(frozen=True)
class Fault:
    """A failure to play: `error` is raised in `stage` ("load", "encode", "step" or "decode") of one job.

    For "step", `step` says which (counted from 1). `prompt` limits it to jobs whose prompt contains it.
    """

    error: Exception
    stage: str = "step"
    step: int = 1
    prompt: str = ""


class FakeEngine(QueuedEngine):
    """See the module's docstring.

    Args:
        sink: as in `QueuedEngine`.
        step_s, stage_s, open_s: seconds slept for a step, for encoding and decoding, and for opening.
        faults: failures to play, each once, in order.
        device, model, loras: what to pretend to be and have.
        presets: a list to show; by default the shipped ones, ranked for the device as the real engine does.
    """

    thread_name = "newbie-fake-engine"

    def __init__(
        self,
        sink: PictureSink | None = None,
        *,
        step_s: float = 0.05,
        stage_s: float = 0.0,
        open_s: float = 0.0,
        faults: Iterable[Fault] = (),
        device: DeviceInfo | None = None,
        model: ModelInfo = FAKE_MODEL,
        presets: tuple[PresetChoice, ...] | None = None,
        loras: tuple[str, ...] = (),
        **limits: int,
    ):
        super().__init__(sink, **limits)
        self.step_s, self.stage_s, self.open_s = step_s, stage_s, open_s
        self.faults = deque(faults)
        self.device = device or DeviceInfo("cpu", "Pretended device", 24.0)
        self._pretended, self._presets, self._loras = model, presets, loras
        self._history = History()
        self._pause = threading.Event()  # never set: waiting on it is a sleep
        self._encoded: set[str] = set()

    # ---- the rest of the protocol -----------------------------------------------------------------------------

    def presets(self, request: GenerateRequest | None = None) -> tuple[PresetChoice, ...]:
        if self._presets is not None:
            return self._presets
        return preset_choices(load_presets(PROJECT / "presets"), self.device, self._pretended, self._history, request)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words and punctuation marks; a real tokenizer counts more."""
        return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]

    def loras(self) -> tuple[str, ...]:
        return self._loras

    # ---- hooks of QueuedEngine --------------------------------------------------------------------------------

    def _load(self) -> None:
        for part in range(10):
            self._loading("Pretending to read weights", part / 10)
            self._pause.wait(self.open_s / 10)
        self._fail_if_told("load", "")
        self.model = self._pretended

    def _estimate_s(self, request: GenerateRequest) -> float | None:
        steps = request.steps or self._pretended.defaults["steps"]
        return request.images * (steps * self.step_s + 2 * self.stage_s)

    def _memory(self) -> Memory:
        return Memory(resident_gb=0.5, device_gb=self.device.total_gb)

    def _make(self, job: Job) -> Iterator[Event]:
        queue_s = time.perf_counter() - job.submitted
        chosen = {choice.name: choice for choice in self.presets()}
        preset = chosen.get(job.request.preset) or next(iter(chosen.values()))
        all_resolved = resolve(job.request, self._pretended, preset.name)
        started = time.perf_counter()
        self._fail_if_told("encode", job.request.prompt)
        self._pause.wait(self.stage_s)
        text = all_resolved[0].system_prompt + job.request.prompt
        cached = text in self._encoded
        self._encoded.add(text)
        encode_s = time.perf_counter() - started
        yield Encoded(job.id, tokens=self.count_tokens([text])[0], seconds=encode_s, cached=cached)
        for number, resolved in enumerate(all_resolved):
            began = time.perf_counter()
            finished = yield from self._steps(job, resolved, number)
            if finished:
                denoise_s = time.perf_counter() - began
                picture = self._decode(resolved)
                decode_s = time.perf_counter() - began - denoise_s
                share = encode_s / len(all_resolved)
                total = queue_s + share + denoise_s + decode_s
                timings = Timings(queue_s, share, denoise_s, decode_s, total, resolved.steps)
                yield self._picture(job, resolved, timings, picture, number, cached)
            if job.finish_asked:
                return

    # ---- making test patterns ---------------------------------------------------------------------------------

    def _steps(self, job: Job, resolved: ResolvedRequest, number: int) -> Iterator[Event]:
        """Pretend to denoise; returns False when the picture was skipped."""
        final = pattern(_prompt(resolved), resolved.seed, *_preview_size(resolved))
        for index in range(1, resolved.steps + 1):
            self._pause.wait(self.step_s)
            self._fail_if_told("step", resolved.request.prompt, index)
            left = (resolved.steps - index) + resolved.steps * (job.request.images - number - 1)
            yield Step(
                job.id,
                index=index,
                total=resolved.steps,
                picture=number,
                pictures=job.request.images,
                eta_s=left * self.step_s,
                preview=_preview(final, index / resolved.steps),
            )
            if job.take_skip():
                return False
        return True

    def _decode(self, resolved: ResolvedRequest) -> Image.Image:
        self._fail_if_told("decode", resolved.request.prompt)
        self._pause.wait(self.stage_s)
        return pattern(_prompt(resolved), resolved.seed, resolved.width, resolved.height)

    def _picture(self, job, resolved, timings, image, number, cached) -> Picture:
        facts = {
            "engine": "fake",
            "attention": "none",
            "compile": "off",
            "embedding_cache": "hit" if cached else "miss",
        }
        self._history.add(
            Measurement(
                model=resolved.model,
                preset=resolved.preset,
                width=resolved.width,
                height=resolved.height,
                steps=resolved.steps,
                device=self.device.name,
                seconds=timings.total_s - timings.queue_s,
                denoise_s=timings.denoise_s,
                peak_gb=self._memory().resident_gb,
            )
        )
        result = GenerateResult(new_picture_id(), resolved, timings, self._memory(), time.time(), facts, image)
        return Picture(job.id, result=result, index=number, pictures=job.request.images)

    def _fail_if_told(self, stage: str, prompt: str, step: int = 1) -> None:
        for fault in self.faults:
            if fault.stage == stage and fault.prompt in prompt and (stage != "step" or fault.step == step):
                self.faults.remove(fault)
                raise fault.error


def _prompt(resolved: ResolvedRequest) -> str:
    return resolved.request.prompt if resolved.prompt is None else resolved.prompt


def _preview_size(resolved: ResolvedRequest) -> tuple[int, int]:
    scale = PREVIEW_PIXELS / max(resolved.width, resolved.height)
    return max(16, round(resolved.width * scale)), max(16, round(resolved.height * scale))


def _preview(final: Image.Image, progress: float) -> bytes:
    """A blurred, greyish version of the picture that clears up, as a small JPEG."""
    blurred = final.filter(ImageFilter.GaussianBlur((1 - progress) * 24))
    grey = Image.new("RGB", final.size, (128, 128, 128))
    stream = io.BytesIO()
    Image.blend(grey, blurred, 0.25 + 0.75 * progress).save(stream, "JPEG", quality=70)
    return stream.getvalue()


def pattern(prompt: str, seed: int, width: int, height: int) -> Image.Image:
    """The test pattern of (prompt, seed): coloured rings around hashed centres, with a label."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
    hue = digest[0]
    image = Image.new("HSV", (width, height), (hue, 90, 235))
    draw = ImageDraw.Draw(image)
    for ring in range(6):
        x, y, size, shade = (digest[4 * ring + k + 1] / 255 for k in range(4))
        for part in range(5, 0, -1):
            radius = max(1.0, math.hypot(width, height) * (0.05 + 0.18 * size) * part / 5)
            colour = ((hue + int(shade * 120) + part * 9) % 256, 60 + part * 25, 250 - part * 18)
            centre_x, centre_y = x * width, y * height
            box = (centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius)
            draw.ellipse(box, fill=colour)
    image = image.convert("RGB")
    _label(image, ["TEST PATTERN", "not made by a model", f"seed {seed}", digest.hex()[:8]])
    return image


def _label(image: Image.Image, lines: list[str]) -> None:
    font = ImageFont.load_default(size=max(8, image.width // 13))
    text = "\n".join(lines)
    draw = ImageDraw.Draw(image)
    centre = (image.width / 2, image.height / 2)
    box = draw.multiline_textbbox(centre, text, font=font, anchor="mm", align="center")
    draw.rectangle((box[0] - 6, box[1] - 6, box[2] + 6, box[3] + 6), fill=(20, 20, 24))
    draw.multiline_text(centre, text, font=font, anchor="mm", align="center", fill=(245, 245, 245))
