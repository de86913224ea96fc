"""Every colour that the artist mixes, by the word that asks for it, and how a colour is shaded.

Shadows of light colours lean warm and keep some saturation, as anime colouring does; skin has hand-picked tones.
"""

from __future__ import annotations

import colorsys
from functools import lru_cache

HAIR = {
    "black": "#35323f",
    "brown": "#85512f",
    "blonde": "#f8d766",
    "orange": "#f58a35",
    "red": "#d3343a",
    "pink": "#f88fb4",
    "purple": "#8d60cb",
    "blue": "#4380e2",
    "aqua": "#5cd3d8",
    "green": "#50b163",
    "white": "#f1f3fa",
    "grey": "#9aa0ae",
}
EYES = {
    "blue": "#2a74e6",
    "green": "#22a44d",
    "red": "#dd2a34",
    "yellow": "#f0b90f",
    "purple": "#8a45d6",
    "brown": "#85491f",
    "pink": "#f4579b",
    "aqua": "#1cc3c9",
}
CLOTH = {
    "white": "#f6f6fa",
    "black": "#393946",
    "red": "#d8434a",
    "blue": "#3f6cd8",
    "green": "#49ac68",
    "yellow": "#f5cc48",
    "pink": "#f696b8",
    "purple": "#8d62cf",
}
SKIN = {"pale": "#ffe9dc", "tan": "#e6b287", "dark": "#a26a47"}
SKIN_LINE = {"#ffe9dc": "#b0705f", "#e6b287": "#8a5238", "#a26a47": "#5a3324"}
SKIN_SHADE = {"#ffe9dc": "#f8c9b5", "#e6b287": "#cd9067", "#a26a47": "#845236"}
WALL = {
    "blue": "#cfe6ff",
    "pink": "#ffdbe6",
    "green": "#d5f2ce",
    "yellow": "#fff1bd",
    "purple": "#e2d8fb",
    "grey": "#d6d8e0",
}


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@lru_cache(maxsize=4096)
def shade(colour: str, amount: float) -> str:
    """The colour made darker (amount < 0, to -1) or lighter (amount > 0, to 1)."""
    if amount < 0 and colour in SKIN_LINE:
        return SKIN_LINE[colour] if amount < -0.3 else SKIN_SHADE[colour]
    hue, light, saturation = colorsys.rgb_to_hls(*(v / 255 for v in _channels(colour)))
    if light > 0.93:
        saturation *= 0.35
    if amount < 0:
        if light > 0.7:
            saturation *= 0.8
        hue = (hue - 0.03) % 1 if 0.1 < hue < 0.6 else (hue + 0.015) % 1
        light, saturation = light * (1 + amount), min(0.85, saturation) * 0.8
    else:
        light, saturation = light + (1 - light) * amount, min(0.85, saturation)
    return "#" + "".join(f"{int(255 * v):02x}" for v in colorsys.hls_to_rgb(hue, light, saturation))


@lru_cache(maxsize=4096)
def grey(colour: str) -> str:
    """The colour as ink on paper: its brightness alone, in a warm grey."""
    red, green, blue = _channels(colour)
    light = (0.299 * red + 0.587 * green + 0.114 * blue) / 255
    return "#" + "".join(f"{int(30 + light * (top - 30)):02x}" for top in (252, 248, 240))
