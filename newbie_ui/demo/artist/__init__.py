"""The artist: parametric chibi characters as SVG text, rasterised by ThorVG. All of the art is our own."""
