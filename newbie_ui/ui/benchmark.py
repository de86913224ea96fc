"""The Benchmark tab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

if TYPE_CHECKING:
    from newbie_ui.ui.page import PageContext


def build(ctx: PageContext) -> None:
    """Fill the tab."""
    gr.HTML('<div class="nb-empty"></div>', padding=False)
