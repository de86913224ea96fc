"""Colours, type and space of the page: one table of tokens, given to Gradio's theme and to our own style sheets.

Every colour is named once in `TOKENS` with its light and its dark value. Gradio's variables are filled from that table
through `GRADIO_VARIABLES`; our own style sheets use the same names as `--nb-*` custom properties. Nothing is
downloaded: fonts are those of the machine that looks at the page.
"""

from __future__ import annotations

import re
from pathlib import Path

import gradio as gr

DOCUMENT = (":root", "html", "body", ".dark")
STATIC = Path(__file__).parent / "static"

# name: (light, dark)
TOKENS: dict[str, tuple[str, str]] = {
    "bg": ("#F3F3F0", "#121413"),
    "surface": ("#FFFFFF", "#1A1D1C"),
    "sunken": ("#E9E9E5", "#0C0E0D"),
    "raised": ("#FAFAF8", "#212524"),
    "line": ("#DEDED8", "#2D3331"),
    "line-2": ("#8A8A82", "#737B77"),
    "ink": ("#1C1E1D", "#ECEFEB"),
    "ink-2": ("#4E514D", "#BCC2BC"),
    "ink-3": ("#666962", "#939A94"),
    "accent": ("#0B736E", "#4CC7BA"),
    "accent-hover": ("#095F5B", "#66D6CA"),
    "on-accent": ("#FFFFFF", "#05211E"),
    "accent-soft": ("#DFEFED", "#13302D"),
    "accent-text": ("#0A645F", "#67D6CA"),
    "warn": ("#855600", "#EBB95E"),
    "warn-soft": ("#FBF1DC", "#2A2314"),
    "warn-line": ("#E6CF9C", "#554522"),
    "danger": ("#B3261E", "#FF8C82"),
    "danger-soft": ("#FBEFEE", "#2D1A18"),
    "danger-line": ("#E2B3AF", "#5E302C"),
    "t1": ("#0B736E", "#4CC7BA"),
    "t2": ("#C0DBD8", "#1F4B47"),
    "t3": ("#5E9F9A", "#2F8A82"),
    "t4": ("#A5ABA5", "#69706C"),
    "c1": ("#2B68D8", "#7CAEFF"),
    "c2": ("#C93A7E", "#FF8DBD"),
    "c3": ("#946000", "#EDB647"),
    "c4": ("#7548D6", "#B79DFF"),
    "c5": ("#BF471B", "#FF9B75"),
    "c6": ("#4B7815", "#A2CC66"),
    "on-c": ("#FFFFFF", "#10131A"),
    "gen": ("#5F6660", "#A3ABA4"),
    "sys": ("#9DA29B", "#5D645F"),
    "seg": ("#FFFFFF", "#2B302E"),
    "hatch": ("rgba(28,30,29,.16)", "rgba(236,239,235,.20)"),
    "shadow": ("0 1px 2px rgba(20,24,22,.05)", "none"),
    "float": ("0 6px 24px rgba(20,24,22,.16)", "0 6px 24px rgba(0,0,0,.5)"),
}

FONT = (
    '"Segoe UI Variable Text","Segoe UI",Inter,-apple-system,BlinkMacSystemFont,Roboto,"Noto Sans","Hiragino Sans",'
    '"Yu Gothic UI","Microsoft YaHei","Noto Sans CJK JP",system-ui,sans-serif'
)
MONO = '"Cascadia Mono","SF Mono",ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace'

# Gradio's theme variables by the token that fills them.
GRADIO_VARIABLES: dict[str, tuple[str, ...]] = {
    "bg": ("body_background_fill", "background_fill_secondary", "panel_background_fill"),
    "surface": (
        "background_fill_primary",
        "block_background_fill",
        "block_label_background_fill",
        "input_background_fill",
        "button_secondary_background_fill",
    ),
    "sunken": ("button_secondary_background_fill_hover",),
    "raised": ("input_background_fill_focus",),
    "line": ("border_color_primary", "block_border_color", "input_border_color", "button_secondary_border_color"),
    "ink": ("body_text_color", "button_secondary_text_color"),
    "ink-2": ("accordion_text_color",),
    "ink-3": (
        "body_text_color_subdued",
        "block_title_text_color",
        "block_label_text_color",
        "block_info_text_color",
        "input_placeholder_color",
    ),
    "accent": (
        "button_primary_background_fill",
        "button_primary_border_color",
        "slider_color",
        "input_border_color_focus",
        "border_color_accent",
        "loader_color",
        "checkbox_background_color_selected",
        "checkbox_border_color_focus",
    ),
    "accent-hover": ("button_primary_background_fill_hover",),
    "on-accent": ("button_primary_text_color",),
    "accent-soft": ("color_accent_soft",),
    "accent-text": ("link_text_color",),
    "danger": ("error_text_color",),
}


def theme() -> gr.themes.Base:
    """Gradio's own components in our colours."""
    colours: dict[str, str] = {}
    for token, variables in GRADIO_VARIABLES.items():
        light, dark = TOKENS[token]
        for variable in variables:
            colours[variable] = light
            colours[variable + "_dark"] = dark
    base = gr.themes.Base(
        font=[name.strip('"') for name in FONT.split(",")],
        font_mono=[name.strip('"') for name in MONO.split(",")],
        text_size=gr.themes.sizes.text_sm,
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_md,
    )
    return base.set(
        color_accent=TOKENS["accent"][0],
        block_radius="8px",
        input_radius="5px",
        button_large_radius="8px",
        button_medium_radius="5px",
        button_small_radius="5px",
        block_border_width="1px",
        block_shadow="none",
        block_padding="0",
        layout_gap="8px",
        form_gap_width="1px",
        block_title_text_weight="400",
        **colours,
    )


def token_css() -> str:
    """The tokens as custom properties; `.dark` on the body switches all of them."""
    light = "".join(f"--nb-{name}:{values[0]};" for name, values in TOKENS.items())
    dark = "".join(f"--nb-{name}:{values[1]};" for name, values in TOKENS.items())
    return f":root{{{light}--nb-f:{FONT};--nb-m:{MONO};}}\n.dark{{{dark}--color-accent:{TOKENS['accent'][1]};}}\n"


def css() -> str:
    """All style sheets of the page, tokens first, then `static/*.css` in the order of their names.

    Gradio's own rules come later in the page; a tie would go to them, so each selector of ours gets `:root` in front.
    """
    return token_css() + "\n".join(raised(path.read_text("utf-8")) for path in sorted(STATIC.glob("*.css")))


def raised(sheet: str) -> str:
    """The same rules with a little more weight. Selectors of the document itself stay as they are."""
    sheet = re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)
    return re.sub(r"([^{};]+)\{", lambda rule: _raised_selectors(rule[1]) + "{", sheet)


def _raised_selectors(prelude: str) -> str:
    text = prelude.strip()
    if text.startswith("@") or re.fullmatch(r"(from|to|[\d.]+%)(\s*,\s*(from|to|[\d.]+%))*", text):
        return prelude
    parts = [part.strip() for part in re.split(r",(?![^()\[\]]*[)\]])", text)]
    return ",".join(part if part.startswith(DOCUMENT) else f":root {part}" for part in parts)


def script() -> str:
    """All scripts: `core.js` first, then the rest of `static/*.js` by name. One that fails stops no other."""
    files = sorted(STATIC.glob("*.js"), key=lambda path: (path.name != "core.js", path.name))
    return "\n".join(
        f"try {{\n{path.read_text('utf-8')}\n}} catch (e) {{ console.error({path.name!r}, e); }}" for path in files
    )
