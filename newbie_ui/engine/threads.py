"""What torch reads from the environment at its import: how threads wait, how a card's memory is cut."""

from __future__ import annotations

import os
from collections.abc import MutableMapping


def share_cores(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let idle threads sleep rather than spin, unless the environment says otherwise. Before torch is imported.

    Torch's threads meet after every operation. Spinning there wins little on an idle machine, but as soon as anything
    else wants a core (the page, a browser, another container) the spinner holds the core that its partner needs: a
    step of the demo model took 7.4 s instead of 0.43 s on two shared cores (docs/log.md, 2026-11-22).
    """
    environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_memory_whole(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let a card's memory grow in place, unless the environment says otherwise. Before torch is imported.

    Torch's allocator otherwise keeps blocks of the sizes that were asked for. Changing sizes of pictures and parts of
    the model that take turns leave more and more of them that fit nothing.
    """
    if "PYTORCH_CUDA_ALLOC_CONF" not in environ:
        environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
