"""Threads wait asleep unless told otherwise, from before torch is there."""

from __future__ import annotations

import subprocess
import sys

from newbie_ui.engine.threads import keep_memory_whole, share_cores


def test_the_environment_has_the_last_word():
    for given in ({}, {"OMP_WAIT_POLICY": "ACTIVE"}):
        environ = dict(given)
        share_cores(environ)
        assert environ["OMP_WAIT_POLICY"] == given.get("OMP_WAIT_POLICY", "PASSIVE")


def test_the_cards_memory_grows_in_place_unless_told_otherwise():
    environ: dict[str, str] = {}
    keep_memory_whole(environ)
    assert environ == {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        given = {name: "max_split_size_mb:128"}
        keep_memory_whole(given)
        assert given == {name: "max_split_size_mb:128"}


def test_the_entry_points_do_not_import_torch_before_it_is_set():
    for module in ("newbie_ui.generate", "newbie_ui.engine.build", "newbie_ui.bench.__main__", "app"):
        code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0, module
