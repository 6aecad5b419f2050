"""A recording's file, and the texts in it: told apart, made plain."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, cast
from unicodedata import normalize

_LONGEST: Final = 2_000_000
"""Of a text, in characters; what follows is not read."""
_PROMPT: Final = re.compile(
    r"^(?:(?:[^\s$%]{1,60}(?: [^\s$%]{1,60}){0,2} ?)?[$%]|❯"
    r"|➜ {1,2}\S{1,60}(?: git:\([^()\n]{1,60}\))?(?: ✗)?) (\S[^\n]{0,300})$",
    re.MULTILINE,
)
_WIDE_SPACE: Final = re.compile(r"[^\S\n]{64,}")
_EMPTY_LINES: Final = re.compile(r"(?:[^\S\n]{0,64}\n){4,}")
_MOST_COMMANDS: Final = 200


def find_raw(text: bytes) -> Mapping[str, object] | None:
    """Finds the raw texts of a recording; None where the file is no such recording.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        decoded: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no recording: {error}") from error
    if not isinstance(decoded, dict):
        raise ValueError("is no recording: it holds no JSON object")  # noqa: TRY004
    recording = cast("dict[str, object]", decoded)
    for name in ("raw", "printed"):
        raw = recording.get(name)
        if isinstance(raw, dict):
            return cast("dict[str, object]", raw)
        if isinstance(raw, str):
            return {"": raw}
    return None if recording.keys() & {"profile", "samples"} else recording


def split_transcript(text: str) -> list[tuple[str, str]]:
    """Parts what a terminal showed into commands and what each printed; empty where there is no prompt."""
    prompts = list(_PROMPT.finditer(text))[:_MOST_COMMANDS]
    ends = [*(prompt.start() for prompt in prompts[1:]), len(text)]
    return [(prompt[1].strip(), text[prompt.end() : end]) for prompt, end in zip(prompts, ends, strict=True)] if prompts else []


def to_text(value: object) -> str:
    """Makes text of whatever stands in the recording: text, lines of it, or JSON that was kept as such."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, list) and all(isinstance(line, str) for line in cast("list[object]", value)):
        text = "\n".join(cast("list[str]", value))
    elif value is None:
        text = ""
    else:
        text = json.dumps(value, ensure_ascii=False)
    text = normalize("NFKC", text[:_LONGEST].replace("\r\n", "\n").replace("\r", "\n"))
    # Emptiness tells nothing, and what searches for something behind it takes its square in time.
    return _EMPTY_LINES.sub("\n\n", _WIDE_SPACE.sub(" " * 64, text))
