"""Named endpoints for programs: generate, presets, parse, lint, gallery. The same functions are the tools over MCP.

Promises: what comes in is checked like the form's values; a job goes through the engine's own queue like everyone's;
what comes out is plain JSON; a refusal is one sentence with the value and the remedy. Their names, arguments and
results are documented in docs/api.md, whose example is run by a test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from newbie_ui.errors import RequestError, UserError
from newbie_ui.gallery.query import ORDERS
from newbie_ui.prompt.__main__ import to_dict
from newbie_ui.prompt.lint import lint
from newbie_ui.prompt.report import Finding
from newbie_ui.prompt.xml import parse
from newbie_ui.request import MAX_PROMPT_CHARS, GenerateRequest, GenerateResult
from newbie_ui.ui.access import client_of
from newbie_ui.ui.board import JobView
from newbie_ui.ui.shelf import Query, Shelf

if TYPE_CHECKING:
    from newbie_ui.ui.page import PageContext

Value = dict[str, Any]
LOOK_EVERY_S = 0.1
MAX_FOUND = 100
MAX_SEARCH = 300


def build(ctx: PageContext) -> None:
    """Add the endpoints to the page that is being built."""
    api = Api(ctx)
    gr.api(api.generate, api_name="generate", concurrency_limit=None)
    gr.api(api.presets, api_name="presets")
    gr.api(api.parse, api_name="parse")
    gr.api(api.lint, api_name="lint")
    gr.api(api.gallery, api_name="gallery")


class Api:
    """The endpoints; each can be called without a page."""

    def __init__(self, ctx: PageContext):
        self.ctx = ctx

    async def generate(
        self,
        prompt: str,
        negative_prompt: str = "",
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: str | None = None,
        images: int = 1,
        preset: str = "auto",
        sampler: str = "euler",
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> AsyncIterator[Value]:
        """Make pictures from a prompt. Yields how the job stands; the last value has the finished pictures.

        Args:
            prompt: what to show, usually XML with one block a character
            negative_prompt: what to stay away from
            width: pixels, a multiple of 16; empty takes the model's
            height: pixels, a multiple of 16; empty takes the model's
            steps: more steps, finer picture, more time; empty takes the model's
            guidance_scale: how strictly the prompt is followed; empty takes the model's
            seed: whole number as text (it may have 19 digits); empty is random
            images: how many pictures, each with the next seed
            preset: how the device is used; auto takes the best that fits
            sampler: how the steps are taken
        """
        wanted = GenerateRequest(
            prompt=prompt,
            negative_prompt=negative_prompt,
            width=width,
            height=height,
            steps=steps,
            guidance_scale=guidance_scale,
            seed=seed if seed not in ("", None) else None,  # type: ignore[arg-type]
            images=images,
            preset=preset,
            sampler=sampler,
        )
        board = self.ctx.actions.board
        try:
            if not wanted.checked().prompt.strip():
                raise RequestError("prompt", "The prompt is empty. Describe at least one character.")
            job = board.submit(wanted, client_of(request))
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
        seen, ended = -1, False
        try:
            while not ended:
                view = board.view(job)
                if view is not None and view.version != seen:
                    seen, ended = view.version, view.ended
                    if view.failure is not None:
                        raise gr.Error(view.failure.message, print_exception=False)
                    yield job_value(view)
                await asyncio.sleep(0 if ended else LOOK_EVERY_S)
        finally:
            if not ended:
                self.ctx.engine.cancel(job)

    def presets(self) -> list[Value]:
        """The performance presets, best first: what each does, whether it fits this device, seconds and GB."""
        return [
            {
                "name": choice.name,
                "label": choice.label,
                "summary": choice.summary,
                "fits": choice.fits,
                "recommended": choice.recommended,
                "reason": choice.reason,
                "median_s": choice.median_s,
                "peak_gb": choice.peak_gb,
                "measured": choice.measured,
            }
            for choice in self.ctx.engine.presets()
        ]

    def parse(self, prompt: str) -> Value:
        """Read a prompt: its characters and their fields, the general tags, and problems with line and column.

        Args:
            prompt: the text, in any spelling that the page understands
        """
        return to_dict(parse(checked_text(prompt)))

    def lint(self, prompt: str) -> list[Value]:
        """What looks wrong in a prompt: a sentence each, with its place and, where there is one, its fix.

        Args:
            prompt: the text
        """
        return [finding_value(finding) for finding in lint(checked_text(prompt))]

    def gallery(self, search: str = "", order: str = "newest", limit: int = 24, offset: int = 0) -> Value:
        """Find pictures in the gallery, a part at a time.

        Args:
            search: words, tag:blue_hair, character:aoi, seed:123, date:2026-11, is:favourite; empty finds all
            order: newest, oldest, rating, fastest or slowest
            limit: how many, 100 at most
            offset: how many to leave out first
        """
        if order not in ORDERS:
            raise gr.Error(
                f"Order {str(order)[:40]!r} is unknown. Use one of: {', '.join(ORDERS)}.", print_exception=False
            )
        found = Query(str(search or "")[:MAX_SEARCH], order)
        total, items = Shelf(self.ctx.gallery).list(found, between(offset, 0, 10**7), between(limit, 1, MAX_FOUND))
        return {"total": total, "items": [{**item, "url": f"pictures/{item['id']}.png"} for item in items]}


def between(value: Any, low: int, high: int) -> int:
    """The nearest whole number that is allowed."""
    return min(max(int(value), low), high) if isinstance(value, (int, float)) and value == value else low


def checked_text(prompt: Any) -> str:
    """The prompt as text within the limit; otherwise an error that says so."""
    if not isinstance(prompt, str):
        raise gr.Error("The prompt must be text.", print_exception=False)
    if len(prompt) > MAX_PROMPT_CHARS:
        raise gr.Error(
            f"The prompt has {len(prompt)} characters; shorten it to {MAX_PROMPT_CHARS} at most.", print_exception=False
        )
    return prompt


def finding_value(finding: Finding) -> Value:
    """A note on a prompt. `fix` is what its button says and the whole prompt after it, or null."""
    return {
        "code": finding.code,
        "severity": finding.severity,
        "message": finding.message,
        "line": finding.line,
        "column": finding.column,
        "start": finding.start,
        "end": finding.end,
        "block": finding.block,
        "index": finding.index,
        "fix": {"label": finding.fix.label, "text": finding.fix.text} if finding.fix else None,
    }


def job_value(view: JobView) -> Value:
    """How a job stands. `fraction` runs from 0 to 1 over all its pictures."""
    step = view.step
    pictures = step.pictures if step else max(1, len(view.results))
    done = step.picture + step.index / max(1, step.total) if step else 0
    return {
        "job": view.job,
        "state": view.state,
        "ahead": view.ahead,
        "fraction": 1.0 if view.state == "done" else round(min(1.0, done / pictures), 4),
        "eta_s": step.eta_s if step else view.wait_s,
        "message": view.message,
        "pictures": [picture_value(result) for result in view.results],
    }


def picture_value(result: GenerateResult) -> Value:
    """A finished picture: where it is, what made it, what it cost. `url` is relative to the page's address."""
    resolved, timings, memory = result.resolved, result.timings, result.memory
    return {
        "id": result.id,
        "url": f"pictures/{result.id}.png",
        "seed": str(resolved.seed),
        "width": resolved.width,
        "height": resolved.height,
        "steps": resolved.steps,
        "guidance_scale": resolved.guidance_scale,
        "preset": resolved.preset,
        "model": resolved.model,
        "timings": {
            "queue_s": timings.queue_s,
            "encode_s": timings.encode_s,
            "denoise_s": timings.denoise_s,
            "decode_s": timings.decode_s,
            "total_s": timings.total_s,
        },
        "memory": {
            "allocated_gb": memory.allocated_gb,
            "reserved_gb": memory.reserved_gb,
            "resident_gb": memory.resident_gb,
        },
        "facts": dict(result.facts),
    }
