"""Guesses from two texts that part why they do: what a client or a template changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from ...events import MissCause

LINE_CHARS: Final = 200
"""Longer lines are not looked at as one."""
SHOWN_CHARS: Final = 100
"""How much of a line is quoted."""
NEAR_CHARS: Final = 2000
"""Lines of `name: value` so near to the beginning of the system prompt are taken for a header."""
_TOOLS_NEAR_CHARS: Final = 300
_JSON_NEAR_CHARS: Final = 1500

_Role = Literal["system", "user", "assistant", "tool"]

_TURN: Final = re.compile(
    r"""
      <\|im_start\|>(?:<\|im_\w+\|>)?(\w+)                     # ChatML: Qwen, SmolLM, LFM, Hermes
    | <\|(?:start_header_id|header_start)\|>(\w+)<\|(?:end_header_id|header_end)\|>  # Llama 3 and 4
    | <start_of_turn>(\w+) | <\|turn>(\w+)                     # Gemma
    | <\|start\|>(\w+)                                         # gpt-oss
    | <\|start_of_role\|>(\w+)<\|end_of_role\|>                # Granite
    | <\|(system|user|assistant|tool|observation|developer)\|> # Phi, GLM, Zephyr, Falcon
    | <\|(SYSTEM|USER|CHATBOT)_TOKEN\|>                        # Command R
    | <[|｜](System|User|Assistant|tool▁outputs▁begin)[|｜]>     # DeepSeek
    | \[(SYSTEM_PROMPT|INST|/INST|TOOL_RESULTS)\]              # Mistral, Llama 2
    """,
    re.VERBOSE,
)
_ROLES: Final[dict[str, _Role]] = {
    "system": "system",
    "developer": "system",
    "system_prompt": "system",
    "user": "user",
    "human": "user",
    "inst": "user",
    "assistant": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "/inst": "assistant",
    "tool": "tool",
    "ipython": "tool",
    "observation": "tool",
    "functions": "tool",
    "tool_results": "tool",
    "tool▁outputs▁begin": "tool",
}
_END: Final = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|eot|end|return|call|endoftext|end_of_text|END_OF_TURN_TOKEN)\|>|<end_of_turn>|<turn\|>|</s>"
    r"|\[/SYSTEM_PROMPT\]|<｜end▁of▁sentence｜>"
)
_CONTROL: Final = re.compile(r"<\|[^|<>\s]{1,40}\|>|<[a-z_]+_of_turn>|</?s>|\[/?[A-Z_]{4,20}\]")

_TOOLS_BEGIN: Final = re.compile(
    r"<tools>|\[AVAILABLE_TOOLS\]|<\|tool_list_start\|>|<\|?available_tools\|?>|^#+ (?:Available )?Tools$"
    r"|namespace functions \{|List of tools:|Given the following functions",
    re.MULTILINE,
)
_TOOLS_END: Final = re.compile(
    r"</tools>|\[/AVAILABLE_TOOLS\]|<\|tool_list_end\|>|</?\|?available_tools\|?>|\} // namespace functions|^# |^={4,}$",
    re.MULTILINE,
)
_TOOL_JSON: Final = re.compile(r'"type": ?"function"|"parameters": ?\{|"input_schema": ?\{|"inputSchema": ?\{')

_VOLATILE: Final = re.compile(
    r"""
      [0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}
    | (?<![^\W_])(?=[a-f]*[0-9])[0-9a-f]{5,}(?![^\W_])         # a hash
    | \b(?:mon|tue|tues|wed|wednes|thu|thur|thurs|fri|sat|satur|sun)(?:day)?\b
    | \b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec|january|february|march|april|june|july
        |august|september|october|november|december)\b
    | \b[ap]\.?m\b\.? | \b(?:utc|gmt|[pmce][sd]t|cest|cet|bst)\b
    | [0-9]+(?:st|nd|rd|th)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_RUN_OF_VOLATILE: Final = re.compile(r"#(?:[.,:/+-]*#)+")
_TIMELY: Final = re.compile(
    r"\d{1,2}:\d{2}|\d{4}-\d{2}-\d{2}|\d{1,2}/\d{1,2}/\d{2,4}|[0-9a-f]{8}-[0-9a-f]{4}-"
    r"|\b(?:time|date|today|now|timestamp|elapsed|uptime|nonce)\b",
    re.IGNORECASE,
)
_HTTP_FIELD: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)+):(?:\s|$)")
_FIELD: Final = re.compile(r"[\s*#>•-]*(\w[\w .()/-]{0,40}?)\s?[:=](?:\s|$)")


@dataclass(frozen=True, slots=True)
class Parting:
    """The texts of two prompts around the place where they part."""

    before: str
    """All of the text they have in common."""
    expected: str
    """How the earlier one goes on."""
    found: str
    """How the later one goes on."""


@dataclass(frozen=True, slots=True)
class _Place:
    """In which message of a conversation two prompts part."""

    role: _Role | None
    """None between two messages, or where no template's marks are known."""
    first: bool
    """Whether it is the conversation's first message."""
    text: str
    """The message up to there; everything, where messages are not known."""
    known: bool
    """Whether there are messages at all."""


def guess_cause(parting: Parting) -> tuple[MissCause, str]:
    """Names the likeliest cause, and says what changed: "the line '…' changed"."""
    place = _find_place(parting.before)
    line, earlier_line = _line(place.text, parting.found), _line(place.text, parting.expected)
    changed_line = f"the line '{_shorten(line)}' changed"
    if _same_field(_HTTP_FIELD, line, earlier_line):
        return "header", changed_line
    if _inside_tools(place.text) or _tools_came_or_went(parting):
        return "tools", "the list of tools changed"
    if _is_volatile(line, earlier_line) and (_leads(place) or _TIMELY.search(line)):
        return "timestamp", changed_line
    if place.role not in ("assistant", "tool") and _near_tool_json(place.text, parting):
        return "tools", "the list of tools changed"
    if not place.known:
        return "unknown", "the text changed"
    if not _leads(place):
        return "history", _history_words(place.role, newest=is_only_the_newest_message(parting))
    begins_at = len(place.text) - len(_unfinished_line(place.text))
    if begins_at <= NEAR_CHARS and _same_field(_FIELD, line, earlier_line):
        return "header", changed_line
    return "system_prompt", "the system prompt changed" if place.role == "system" else "the first message changed"


def is_only_the_newest_message(parting: Parting) -> bool:
    """Whether nothing but the last message differs, behind which only the reply is awaited."""
    place = _find_place(parting.before)
    return place.known and place.role != "system" and len(_TURN.findall(parting.found)) <= 1


def _find_place(before: str) -> _Place:
    turns = list(_TURN.finditer(before))
    if not turns:
        return _Place(None, first=True, text=before, known=False)
    text = before[turns[-1].end() :]
    ended = _END.search(text)
    if ended is not None:
        return _Place(None, first=False, text=text[ended.end() :], known=True)
    name = next(group for group in turns[-1].groups() if group is not None)
    return _Place(_ROLES.get(name.lower()), first=len(turns) == 1, text=text, known=True)


def _leads(place: _Place) -> bool:
    """Whether a place is in what every turn of a conversation begins with."""
    return place.first or place.role == "system"


def _unfinished_line(text: str) -> str:
    return text[text.rfind("\n") + 1 :]


def _line(before: str, after: str) -> str:
    """The line that the end of one text and the beginning of another make, without control tokens."""
    head = _CONTROL.split(_unfinished_line(before))[-1]
    tail = _CONTROL.split(after.partition("\n")[0], maxsplit=1)[0]
    return head + tail


def _shorten(line: str) -> str:
    line = line.strip()
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"


def _is_volatile(line: str, earlier_line: str) -> bool:
    """Whether two lines differ in nothing but dates, times, ids and numbers."""
    if line == earlier_line or max(len(line), len(earlier_line)) > LINE_CHARS:
        return False
    return _mask(line) == _mask(earlier_line)


def _mask(line: str) -> str:
    return _RUN_OF_VOLATILE.sub("#", _VOLATILE.sub("#", line)).strip()


def _same_field(pattern: re.Pattern[str], line: str, earlier_line: str) -> bool:
    """Whether two lines give the same name another value."""
    one, other = pattern.match(line), pattern.match(earlier_line)
    return one is not None and other is not None and one[1] == other[1] and line != earlier_line


def _inside_tools(text: str) -> bool:
    begins = list(_TOOLS_BEGIN.finditer(text))
    return bool(begins) and _TOOLS_END.search(text, begins[-1].end()) is None


def _tools_came_or_went(parting: Parting) -> bool:
    near = [text[:_TOOLS_NEAR_CHARS] for text in (parting.expected, parting.found)]
    # What stands behind the end of the message is not in the place of what the other one has here.
    own = [_END.split(text, maxsplit=1)[0] for text in near]
    return len({_TOOLS_BEGIN.search(text) is None for text in own}) == 2


def _near_tool_json(text: str, parting: Parting) -> bool:
    # Behind the end of a list something else has begun.
    around = (
        _TOOLS_END.split(text[-_JSON_NEAR_CHARS:])[-1],
        parting.expected[:_TOOLS_NEAR_CHARS],
        parting.found[:_TOOLS_NEAR_CHARS],
    )
    return any(_TOOL_JSON.search(_END.split(part, maxsplit=1)[0]) for part in around)


def _history_words(role: _Role | None, *, newest: bool) -> str:
    if newest:
        return "the newest message has other text before them"
    match role:
        case "assistant":
            return "an earlier reply came back changed"
        case "user":
            return "an earlier message of the user differs"
        case "tool":
            return "an earlier tool result differs"
        case _:
            return "earlier messages were left out, put in or changed"
