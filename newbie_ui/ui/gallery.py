"""The Gallery tab: one widget over our own gallery routes; only Restore comes back here, because it fills the form."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import gradio as gr

from newbie_ui.errors import UserError
from newbie_ui.ui.access import is_shared
from newbie_ui.ui.restore import from_picture
from newbie_ui.ui.shelf import Shelf
from newbie_ui.ui.widgets import DIRECT, widget

if TYPE_CHECKING:
    from newbie_ui.ui.page import PageContext

log = logging.getLogger(__name__)


def build(ctx: PageContext) -> None:
    """Fill the tab. Needs `ctx.form` and `ctx.tabs`."""
    shelf = Shelf(ctx.gallery)

    def restore(event: gr.EventData) -> list[Any]:
        return [gr.Tabs(selected="create"), *restored(ctx, shelf, event._data)]

    widget(
        "gallery", {"may": {"edit": not is_shared(ctx.settings)}}, events=("restore",), elem_id="nb-gallery"
    ).restore(restore, None, [ctx.tabs, *ctx.form.outputs], **DIRECT)


def restored(ctx: PageContext, shelf: Shelf, data: Any) -> list[Any]:
    """The form's values for the picture that a browser names. Raises gr.Error with a sentence."""
    try:
        return ctx.form.tab.fill(from_picture(shelf.file(data.get("id") if isinstance(data, dict) else "")))
    except UserError as error:
        log.info("restore refused: %s", error)
        raise gr.Error(str(error), print_exception=False) from error
