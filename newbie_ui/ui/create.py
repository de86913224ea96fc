"""The Create tab: editor on the left, picture in the middle, how it is made on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from newbie_ui.request import GenerateRequest

if TYPE_CHECKING:
    from newbie_ui.ui.page import PageContext


@dataclass(frozen=True)
class Form:
    """How another tab fills the form: a handler returns `fill(request)` and has `outputs` as its outputs."""

    outputs: Sequence[gr.components.Component]

    def fill(self, request: GenerateRequest) -> list[Any]:
        """One value for each of `outputs`; raises RequestError when the request is not usable."""
        return [gr.skip() for _ in self.outputs]


def build(ctx: PageContext) -> None:
    """Fill the tab and set `ctx.form`."""
    gr.HTML('<div class="nb-empty"></div>', padding=False)
    ctx.form = Form(outputs=())
