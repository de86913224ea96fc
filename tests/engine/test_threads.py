"""Threads wait asleep unless told otherwise, from before torch is there."""

from __future__ import annotations

import subprocess
import sys

from newbie_ui.engine.threads import share_cores


def test_the_environment_has_the_last_word():
    for given in ({}, {"OMP_WAIT_POLICY": "ACTIVE"}):
        environ = dict(given)
        share_cores(environ)
        assert environ["OMP_WAIT_POLICY"] == given.get("OMP_WAIT_POLICY", "PASSIVE")


def test_the_entry_points_do_not_import_torch_before_it_is_set():
    for module in ("newbie_ui.generate", "newbie_ui.engine.build", "newbie_ui.bench.__main__", "app"):
        code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0, module
