"""The engine that the settings ask for. Imports torch only when it is needed."""

from __future__ import annotations

from typing import Any

from newbie_ui.engine.base import Engine, PictureSink
from newbie_ui.engine.threads import keep_memory_whole, share_cores
from newbie_ui.settings import Settings


def make_engine(settings: Settings, sink: PictureSink | None = None, **local_options: Any) -> Engine:
    """A `LocalEngine`, or a `FakeEngine` for `--engine fake`; not yet open."""
    limits = {"max_waiting": settings.max_queue, "max_per_client": settings.max_per_client}
    if settings.engine == "fake":
        from newbie_ui.engine.fake import FakeEngine

        return FakeEngine(sink, **limits)
    share_cores()
    keep_memory_whole()
    from newbie_ui.engine.local import LocalEngine

    return LocalEngine(settings, sink, **limits, **local_options)
