"""Compose several anime characters, get their picture and its cost, from one persistent NewBie pipeline."""

__version__ = "0.1.0"
