"""`python -m newbie_ui.bench`, see `command.py`."""

import sys

from newbie_ui.engine.threads import keep_memory_whole, share_cores


def main() -> int:
    """The environment is set before torch is first imported."""
    share_cores()
    keep_memory_whole()
    from newbie_ui.bench.command import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
