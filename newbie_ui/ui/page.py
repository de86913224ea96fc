"""The page as a whole: header, four tabs, and what the server needs to serve it.

`build_page` puts the tabs together; each tab is one file with `build(ctx: PageContext)`. The page speaks to an engine
and a gallery that it is given and knows neither torch nor the device. Theme, styles, scripts and translations are
not part of the blocks in Gradio 6: `page_assets()` returns them all.

The server has to provide some addresses relative to the page: pictures by gallery id, `pictures/<id>.png` (the file as
it was saved) and `thumbs/<id>.webp`, the gallery's own routes, and `news`, what `Actions.follow` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from newbie_ui.engine.base import Engine
from newbie_ui.errors import PresetError
from newbie_ui.presets import Preset, load_presets
from newbie_ui.ui import api, benchmark, create, gallery, settings, theme, words
from newbie_ui.ui.actions import Actions
from newbie_ui.ui.widgets import widget

TITLE = "newbie_ui"


@dataclass
class PageContext:
    """What every tab may use. `form` is set by the Create tab, so that other tabs can fill it."""

    actions: Actions
    gallery: Any  # newbie_ui.gallery.store.Gallery
    settings: Any = None  # newbie_ui.settings.Settings
    header: gr.HTML | None = None
    tabs: gr.Tabs | None = None
    form: create.Form | None = None  # `outputs` and `fill(request)`

    @property
    def engine(self) -> Engine:
        return self.actions.engine

    def preset_files(self) -> tuple[Preset, ...]:
        """The presets as their files say, known before the model is; none if the folder cannot be read."""
        try:
            return load_presets(self.settings.presets_dir) if self.settings else ()
        except PresetError:
            return ()


@dataclass(frozen=True)
class PageAssets:
    """What belongs to the page beside its blocks: `css` and `js` for `shell.add_shell`, the rest for Gradio."""

    css: str
    js: str
    theme: gr.themes.Base
    i18n: gr.I18n

    def arguments(self) -> dict[str, Any]:
        """For `mount_gradio_app(app, page, **assets.arguments())`."""
        return {"theme": self.theme, "i18n": self.i18n}


def page_assets() -> PageAssets:
    """Theme, style sheets, scripts and translations; read once at start, after the page was built."""
    script = f"{theme.script()}\n{words.script()}"
    return PageAssets(css=theme.css(), js=script, theme=theme.theme(), i18n=words.i18n())


def build_page(actions: Actions, pictures: Any, app_settings: Any = None) -> gr.Blocks:
    """The whole page over these actions' engine and this gallery. Nothing is loaded or started here."""
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False) as page:
        ctx = PageContext(actions=actions, gallery=pictures, settings=app_settings)
        api.build(ctx)  # first, so that its names are free
        ctx.header = widget(
            "header",
            ctx.actions.pulse(),
            events=("settled",),
            server_functions=[ctx.actions.pulse],
            elem_id="nb-top",
        )
        with gr.Tabs(elem_id="nb-tabs") as ctx.tabs:
            with gr.Tab(words.word("create"), id="create"):
                create.build(ctx)
            with gr.Tab(words.word("gallery"), id="gallery"):
                gallery.build(ctx)
            with gr.Tab(words.word("benchmark"), id="benchmark"):
                benchmark.build(ctx)
            with gr.Tab(words.word("settings"), id="settings"):
                settings.build(ctx)
    return page
