"""The page as a whole: header, four tabs, and what the server needs to serve it.

`build_page` puts the tabs together; each tab is one file with `build(ctx: PageContext)`. The page speaks to an engine
and a gallery that it is given and knows neither torch nor the device. Theme, style, script and translations are
arguments of `launch()` or `mount_gradio_app()` in Gradio 6: `page_assets()` returns them all.

Pictures are shown by gallery id from two addresses that the server has to provide, relative to the page:
`pictures/<id>.png` (the file as it was saved) and `thumbs/<id>.webp`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from newbie_ui.engine.base import Engine
from newbie_ui.ui import benchmark, create, gallery, settings, theme

TITLE = "newbie_ui"


@dataclass
class PageContext:
    """What every tab may use. `form` is set by the Create tab, so that other tabs can fill it."""

    engine: Engine
    gallery: Any  # newbie_ui.gallery.store.Gallery
    settings: Any = None  # newbie_ui.settings.Settings
    tabs: gr.Tabs | None = None
    form: Any = None  # create.Form: `outputs` and `fill(request)`
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PageAssets:
    """Arguments of `launch()` and `mount_gradio_app()` that belong to the page."""

    theme: gr.themes.Base
    css: str
    head: str
    js: str | None = None
    i18n: gr.I18n | None = None

    def arguments(self) -> dict[str, Any]:
        """For `mount_gradio_app(app, page, **assets.arguments())`."""
        return {"theme": self.theme, "css": self.css, "head": self.head, "js": self.js, "i18n": self.i18n}


def page_assets() -> PageAssets:
    """Theme, style sheets, scripts and translations; read once at start."""
    return PageAssets(theme=theme.theme(), css=theme.css(), head=f"<script>{theme.script()}</script>")


def build_page(engine: Engine, pictures: Any, app_settings: Any = None) -> gr.Blocks:
    """The whole page over this engine and this gallery. Nothing is loaded or started here."""
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False) as page:
        ctx = PageContext(engine=engine, gallery=pictures, settings=app_settings)
        with gr.Tabs(elem_id="nb-tabs") as ctx.tabs:
            with gr.Tab("Create", id="create"):
                create.build(ctx)
            with gr.Tab("Gallery", id="gallery"):
                gallery.build(ctx)
            with gr.Tab("Benchmark", id="benchmark"):
                benchmark.build(ctx)
            with gr.Tab("Settings", id="settings"):
                settings.build(ctx)
    return page
