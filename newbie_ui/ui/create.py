"""The Create tab: editor and dock on the left, picture in the middle, how it is made on the right.

This file is layout and wiring; what happens is in `actions.py`, what widgets look like in `static/`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from newbie_ui.errors import RequestError, UserError
from newbie_ui.prompt import dice
from newbie_ui.request import PARAMETERS, GenerateRequest, random_seed
from newbie_ui.ui import bind, compose, grid, restore
from newbie_ui.ui.access import client_of
from newbie_ui.ui.actions import Actions
from newbie_ui.ui.restore import Restored
from newbie_ui.ui.widgets import DIRECT, widget
from newbie_ui.ui.words import word

if TYPE_CHECKING:
    from newbie_ui.ui.page import PageContext

log = logging.getLogger(__name__)
KNOBS = (*bind.SLIDERS, *bind.SAMPLING, "system_prompt")


@dataclass(frozen=True)
class Form:
    """How another tab fills the form: a handler returns `fill(request)` and has `outputs` as its outputs."""

    outputs: Sequence[gr.components.Component]
    tab: CreateTab

    def fill(self, request: GenerateRequest, say: str = "") -> list[Any]:
        """One value for each of `outputs`; raises RequestError when the request is not usable."""
        good = request.checked()
        return self.tab.fill(Restored({f.name: getattr(good, f.name) for f in fields(good)}, say))


def build(ctx: PageContext) -> None:
    """Fill the tab and set `ctx.form`."""
    tab = CreateTab(ctx)
    tab.layout()
    tab.connect()
    ctx.form = Form(outputs=tab.form, tab=tab)


class CreateTab:
    """The tab's components and their handlers."""

    def __init__(self, ctx: PageContext):
        self.ctx = ctx
        self.actions: Actions = ctx.actions
        self.knobs: dict[str, gr.components.Component] = {}

    # ---- layout ------------------------------------------------------------------------------------------------

    def layout(self) -> None:
        with gr.Row(elem_id="nb-page"):
            with gr.Column(elem_id="nb-mid"):
                self.stage = widget(
                    "stage",
                    {"state": "empty"},
                    events=("pick", "restore"),
                    server_functions=[
                        self.actions.begin,
                        self.actions.control,
                        self.actions.share,
                        self.actions.code,
                    ],
                    elem_id="nb-stage",
                )
            with gr.Column(elem_id="nb-left"):
                self.editor = widget(
                    "editor",
                    {"text": compose.EXAMPLE, "dice_fields": list(dice.FIELDS)},
                    events=("paste", "open", "unfill", "ab"),
                    server_functions=[self.actions.compose, self.actions.complete],
                    elem_id="nb-editor",
                )
                images = PARAMETERS["images"]
                limits = {"minimum": images.minimum, "maximum": images.maximum}
                self.dock = widget("dock", {"images": 1, "limits": limits}, events=("generate",), elem_id="nb-dock")
            with gr.Column(elem_id="nb-right"):
                self._right()
        self.file = gr.File(
            file_types=[".png", ".webp", ".jpg", ".jpeg", ".json", ".txt"],
            visible="hidden",
            elem_id="nb-file",
            label="PNG",
        )
        self.teller = widget("teller", {}, elem_id="nb-teller")

    def _right(self) -> None:
        labels = {preset.name: preset.label for preset in self.ctx.preset_files()}
        self.presets = widget("presets", {"choices": [], "labels": labels}, events=("stale",))
        status = self.ctx.engine.status()
        values = bind.defaults(status.model.defaults if status.model else {})
        with gr.Group(elem_classes=["nb-plain"]):
            shown = [values[name] for name in KNOBS]
            self.size = widget("sizes", {**self.actions.sizes(status), "knobs": shown}, events=("resized",))
            for name in bind.SLIDERS:
                self.knobs[name] = bind.component(name, values[name])
            self.seed = widget("seed")
        with gr.Group(elem_classes=["nb-plain", "nb-folds"]):
            with gr.Accordion(word("system_prompt"), open=False, elem_classes=["nb-fold"], elem_id="nb-fold-system"):
                self.knobs["system_prompt"] = bind.component("system_prompt", values["system_prompt"])
            with gr.Accordion(word("sampling"), open=False, elem_classes=["nb-fold"], elem_id="nb-fold-sampling"):
                for name in bind.SAMPLING:
                    self.knobs[name] = bind.component(name, values[name])
            self.loras = widget("loras", {"names": [], "uses": []})
            self.grid = grid.build(self.ctx)
        self.queue = widget("queue", None, server_functions=[self.actions.control])

    # ---- wiring ------------------------------------------------------------------------------------------------

    @property
    def form(self) -> list[gr.components.Component]:
        """Everything that a restored picture fills, in the order of `fill`."""
        return [self.editor, self.size, self.seed, self.loras, *(self.knobs[n] for n in KNOBS)]

    def connect(self) -> None:
        knobs = [self.knobs[name] for name in KNOBS]
        given = [self.editor, self.size, self.seed, self.dock, self.presets, self.loras, *knobs]
        self.dock.generate(self.submit, given, self.teller, trigger_mode="multiple", **DIRECT)
        self.editor.ab(self.compare, given, self.teller, **DIRECT)
        self.grid.connect(given, self._asked)
        self.ctx.header.settled(self.settle, self.size, [self.size, self.presets, self.loras], **DIRECT).then(
            None, [self.size, *knobs], knobs, js="(size, ...values) => nb.kept(size, values)", **DIRECT
        )
        self.stage.pick(self.pick, None, self.stage, **DIRECT)
        costs = [self.size, self.knobs["steps"]]
        for event in (self.size.resized, self.presets.stale, self.knobs["steps"].release):
            # What changes while they are asked for is asked for again, so that they are those of the last size
            event(self.actions.presets, costs, self.presets, trigger_mode="always_last", **DIRECT)
        for event, handler in (
            (self.editor.paste, self.pasted),
            (self.editor.open, self.opened),
            (self.stage.restore, self.again),
        ):
            event(handler, None, [*self.form, self.teller], **DIRECT)
        self.file.upload(self.dropped, self.file, [*self.form, self.teller, self.file], **DIRECT)
        self.editor.unfill(None, None, knobs, js="() => nb.unfilled()", **DIRECT)
        gr.on([c.change for c in knobs], None, knobs, None, js="(...v) => nb.keep(v)", **DIRECT)

    # ---- handlers ----------------------------------------------------------------------------------------------

    def submit(self, request: gr.Request, *values: Any) -> Any:
        """Queue what the widgets say; returns the refusal or nothing."""
        try:
            return told(self.actions.submit(self._asked(values), client_of(request)))
        except RequestError as error:
            return told({"message": str(error), "field": error.field})

    def compare(self, request: gr.Request, event: gr.EventData, *values: Any) -> Any:
        """The same seed with and without one card: two jobs, and their ids for the slider."""
        index, editor = event._data.get("index"), values[0] if isinstance(values[0], dict) else {}
        muted = [i for i in editor.get("muted") or () if i != index]
        try:
            seed = bind.whole("seed", values[2])
            seed = random_seed() if seed is None else seed
            pair = [
                replace(self._asked(({**editor, "muted": cards}, *values[1:])), seed=seed, images=1)
                for cards in (muted, [*muted, index])
            ]
        except RequestError as error:
            return told({"message": str(error), "field": error.field})
        error, jobs = self.actions.submit_all(pair, client_of(request))
        return {**told(error), "compare": jobs}

    def _asked(self, values: Sequence[Any]) -> GenerateRequest:
        return self.actions.request(*values[:6], dict(zip(KNOBS, values[6:])))

    def pick(self, event: gr.EventData) -> Any:
        return self.actions.shown(event._data.get("id"))

    def settle(self, size: Any) -> list[Any]:
        """The model has become known, or is another one: its sizes, presets, LoRAs and defaults.

        Defaults go with the size: the browser decides between them, what it kept, and what was typed meanwhile.
        """
        status = self.ctx.engine.status()
        values = bind.defaults(status.model.defaults if status.model else {})
        return [
            {**self.actions.sizes(status), "fresh": True, "knobs": [values[name] for name in KNOBS]},
            self.actions.presets(size, values["steps"]),
            {"names": list(self.ctx.engine.loras())},
        ]

    def fill(self, restored: Restored) -> list[Any]:
        """One value for each component of `form`; what the source does not say stays as it is."""
        values, status = restored.values, self.ctx.engine.status()
        size, seed = gr.skip(), gr.skip()
        if values.get("width") and values.get("height"):
            size = self.actions.sizes(status, (values["width"], values["height"]))
        if "seed" in values:
            seed = "" if values["seed"] is None else str(values["seed"])
        lora = gr.skip()
        if "loras" in values:
            uses = [{"name": use.name, "weight": use.weight} for use in values["loras"]]
            lora = {"names": list(self.ctx.engine.loras()), "uses": uses, "force": True}
        editor = {"muted": [], "pending": [], "say": restored.say, "number": time.monotonic_ns()}
        editor |= {"text": values.get("prompt"), "negative": values.get("negative_prompt"), "filled": bool(values)}
        knobs = [gr.skip() if values.get(name) is None else values[name] for name in KNOBS]
        return [editor, size, seed, lora, *knobs]

    def refilled(self, restored: Callable[[], Restored]) -> list[Any]:
        """Fill the form from something that may turn out to be unreadable; then only a sentence appears."""
        try:
            return [*self.fill(restored()), told(None, quiet=True)]
        except UserError as error:
            return [*(gr.skip() for _ in self.form), told({"message": str(error), "field": None})]

    def dropped(self, path: str | None) -> list[Any]:
        """A picture, or a text file, was dropped on the page."""
        if not path:
            return [*self.refilled(Restored), None]
        text_file = Path(path).suffix.lower() in (".txt", ".json", ".xml")
        read = (lambda: restore.from_text_file(path)) if text_file else (lambda: restore.from_picture(path))
        return [*self.refilled(read), None]

    def pasted(self, event: gr.EventData) -> list[Any]:
        text = event._data.get("text")
        return self.refilled(lambda: restore.from_text(text) if isinstance(text, str) else Restored())

    def opened(self, event: gr.EventData) -> list[Any]:
        link = event._data.get("link")
        return self.refilled(lambda: restore.from_link(link) if isinstance(link, str) else Restored())

    def again(self, event: gr.EventData) -> list[Any]:
        """The picture shown, back into the form."""
        return self.refilled(lambda: self.actions.recipe_of(event._data.get("id")))


def told(error: dict[str, Any] | None, quiet: bool = False) -> dict[str, Any]:
    """For the teller: a refusal, or that all went well; never twice the same value."""
    return {"error": error, "quiet": quiet, "number": time.monotonic_ns()}
