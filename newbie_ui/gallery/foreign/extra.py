"""What a program's settings say besides the fields that are read: kept as texts, so that nothing is lost silently."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

MAX_ENTRIES = 100
MAX_CHARS = 2000  # of one entry


def others(data: Mapping[str, Any], read: Collection[str]) -> dict[str, str]:
    """The entries that are not among `read`, as texts; lists and objects as JSON. What is cut ends with an ellipsis."""
    said = {str(key)[:200]: _text(value) for key, value in data.items() if key not in read and _says_something(value)}
    return dict(list(said.items())[:MAX_ENTRIES])


def _says_something(value: Any) -> bool:
    return value not in ("", "None", [], {}) if not isinstance(value, (bool, type(None))) else bool(value)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"
