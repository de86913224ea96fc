"""A pen that writes SVG text, and the rasteriser that turns the text into pixels.

The picture exists as text first: it can be read, compared and saved. Rasterising is ThorVG's work
(`thorvg-python`, a wheel without system libraries); it is imported only when pixels are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from newbie_ui.demo.artist.palette import shade

if TYPE_CHECKING:
    import numpy as np

CANVAS = 256  # user units; pictures of any size are this drawing, scaled


def ellipse(x: float, y: float, rx: float, ry: float) -> str:
    """Path data of an ellipse around (x, y)."""
    left, right = f"{x - rx:.2f} {y:.2f}", f"{x + rx:.2f} {y:.2f}"
    arc = f"A{rx:.2f} {ry:.2f} 0 1 0"
    return f"M{left}{arc} {right}{arc} {left}Z"


def box(x0: float, y0: float, x1: float, y1: float) -> str:
    """Path data of an upright rectangle."""
    return f"M{x0:.2f} {y0:.2f}H{x1:.2f}V{y1:.2f}H{x0:.2f}Z"


class Pen:
    """Collects SVG elements. Every colour passes through `ink`, so a whole drawing can change its palette."""

    def __init__(self, ink: Callable[[str], str] = lambda colour: colour):
        self._ink = ink
        self._elements: list[str] = []
        self._gradients: dict[tuple, str] = {}

    def gradient(self, y0: float, y1: float, colours: Sequence[str], stops: Sequence[float] = ()) -> str:
        """A vertical gradient in local units, as a paint for `fill` and `shape`."""
        return self._gradients.setdefault((y0, y1, tuple(colours), tuple(stops)), f"url(#g{len(self._gradients)})")

    def _paint(self, paint: str) -> str:
        return paint if paint.startswith("url") else self._ink(paint)

    def fill(self, path: str, paint: str, opacity: float = 1) -> None:
        see = "" if opacity == 1 else f' fill-opacity="{opacity:.2f}"'
        self._elements.append(f'<path d="{path}" fill="{self._paint(paint)}"{see}/>')

    def line(self, path: str, colour: str, width: float = 2.2, opacity: float = 1) -> None:
        see = "" if opacity == 1 else f' stroke-opacity="{opacity:.2f}"'
        self._elements.append(
            f'<path d="{path}" fill="none" stroke="{self._ink(colour)}" stroke-width="{width}"'
            f' stroke-linecap="round" stroke-linejoin="round"{see}/>'
        )

    def shape(self, path: str, colour: str, width: float = 2.2, paint: str = "", edge: float = -0.45) -> None:
        """A filled shape with an outline of its own darker colour."""
        self._elements.append(
            f'<path d="{path}" fill="{self._paint(paint or colour)}" stroke="{self._ink(shade(colour, edge))}"'
            f' stroke-width="{width}" stroke-linejoin="round"/>'
        )

    def limb(self, path: str, colour: str, width: float) -> None:
        """A thick rounded line with an outline: arms and legs."""
        self.line(path, shade(colour, -0.45), width + 4.2)
        self.line(path, colour, width)

    @contextmanager
    def moved(self, transform: str) -> Iterator[None]:
        self._elements.append(f'<g transform="{transform}">')
        yield
        self._elements.append("</g>")

    def both_sides(self, draw: Callable[[int], Any]) -> None:
        """Call `draw(side)` twice, for -1 in a mirrored frame and for +1 as it is."""
        with self.moved("scale(-1 1)"):
            draw(-1)
        draw(1)

    def document(self) -> str:
        """The finished SVG text."""
        defs = "".join(
            f'<linearGradient id="{name[5:-1]}" gradientUnits="userSpaceOnUse" x1="0" y1="{y0}" x2="0" y2="{y1}">'
            + "".join(
                f'<stop offset="{offset:.3f}" stop-color="{self._ink(colour)}"/>'
                for colour, offset in zip(colours, stops or [i / (len(colours) - 1) for i in range(len(colours))])
            )
            + "</linearGradient>"
            for (y0, y1, colours, stops), name in self._gradients.items()
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{CANVAS}" height="{CANVAS}"'
            f' viewBox="0 0 {CANVAS} {CANVAS}">'
            f"<defs>{defs}</defs>{''.join(self._elements)}</svg>"
        )


@lru_cache(maxsize=1)
def _engine() -> Any:
    import thorvg_python

    return thorvg_python.Engine(threads=0)


def rasterise(svg: str, size: int = CANVAS) -> np.ndarray:
    """SVG text to pixels, uint8 (size, size, 3)."""
    import numpy as np
    import thorvg_python

    canvas, picture = thorvg_python.SwCanvas(_engine()), thorvg_python.Picture(_engine())
    canvas.set_target(size, size)
    picture.load_data(svg.encode(), "svg", None, True)
    picture.set_size(size, size)
    canvas.add(picture)
    canvas.draw(True)
    canvas.sync()
    pixels = np.frombuffer(canvas.buffer_arr, np.uint8).reshape(size, size, 4)[..., :3].copy()
    canvas.destroy()
    return pixels
