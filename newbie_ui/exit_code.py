"""How a command ends: with a code for the shell and, if it fails, a sentence for the person."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from newbie_ui.errors import UserError

P = ParamSpec("P")


def exit_code(command: Callable[P, None]) -> Callable[P, int]:
    """The command, giving 0, 2 for a UserError (told on stderr) or 130 if it was interrupted."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            command(*args, **kwargs)
        except UserError as error:
            print(f"newbie_ui: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130
        return 0

    return run
