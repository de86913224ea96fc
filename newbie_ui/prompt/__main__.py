"""`python -m newbie_ui.prompt --json FILE…`: read prompt files and say what is in them.

Promises: one JSON line a file, in order; `text` is the file's text rebuilt from its parts, equal to it byte for
byte. A file that cannot be read gets a sentence on stderr, and the exit code is then 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from newbie_ui.errors import PromptError, UserError
from newbie_ui.prompt.xml import ParsedPrompt, parse

MAX_FILE_BYTES = 1_000_000


def read_text(name: str) -> str:
    """The text of a file (`-` is stdin), unchanged; raises PromptError with a sentence."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PromptError(f"{name} cannot be read: {reason}. Give the path of a text file.") from error
    if len(data) > MAX_FILE_BYTES:
        raise PromptError(f"{name} is larger than {MAX_FILE_BYTES:,} bytes. Give a file with one prompt in it.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PromptError(f"{name} is not UTF-8 text (byte {error.start + 1}). Save it as UTF-8.") from error


def to_dict(parsed: ParsedPrompt) -> dict[str, Any]:
    """What the JSON line holds, without the file's name."""
    prompt = parsed.prompt
    return {
        "characters": [
            {"fields": [list(pair) for pair in one.fields], **({"tag": one.tag} if one.tag else {})}
            for one in prompt.characters
        ],
        "general": {"fields": [list(pair) for pair in prompt.general.fields]},
        "extras": [[extra.name, extra.text] for extra in prompt.extras],
        "system": prompt.system,
        "problems": [{"line": p.line, "column": p.column, "message": p.message} for p in parsed.problems],
        "text": parsed.text,
    }


def to_words(name: str, parsed: ParsedPrompt) -> str:
    """The same for people: a summary line and one line a problem."""
    count, problems = len(parsed.characters), len(parsed.problems)
    lines = [
        f"{name}: {count} character{'s' * (count != 1)}, {len(parsed.prompt.general.fields)} general fields, "
        f"{problems or 'no'} problem{'s' * (problems != 1)}"
    ]
    lines += [f"{name}:{p.line}:{p.column}: {p.message}" for p in parsed.problems]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code: 0, or 2 if a file could not be read."""
    parser = argparse.ArgumentParser(prog="python -m newbie_ui.prompt", description="Read prompt files.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="text file with one prompt; - reads stdin")
    parser.add_argument("--json", action="store_true", help="one JSON line a file")
    options = parser.parse_args(argv)
    code = 0
    for name in options.files:
        try:
            parsed = parse(read_text(name))
        except UserError as error:
            print(error, file=sys.stderr)
            code = 2
            continue
        print(json.dumps({"file": name, **to_dict(parsed)}) if options.json else to_words(name, parsed))
    return code


if __name__ == "__main__":
    sys.exit(main())
