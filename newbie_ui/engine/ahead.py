"""Optional packages of kernels, imported in a thread while the model is read.

They take seconds, and the first picture would wait for them. Whoever needs one imports it as usual, and waits for the
rest of it at most.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from threading import Thread

from newbie_ui.engine.compile import use_disk_cache
from newbie_ui.model import flash4, products

log = logging.getLogger(__name__)

PACKAGES = (products.PACKAGE, products.EPILOGUES, flash4.PACKAGE)  # in the order in which they are needed


def import_packages(names: Sequence[str] = PACKAGES) -> Thread:
    """Begin to import what is installed of these; what is missing or broken is left to whoever needs it."""
    use_disk_cache()  # they look for it at their import
    thread = Thread(target=_import, args=(names,), name="kernel packages", daemon=True)
    thread.start()
    return thread


def _import(names: Sequence[str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # packages of kernels fail in any way they like
            log.debug("%s was not imported ahead: %s", name, str(error)[:120])
