"""What a chat template cannot take, found out by trying it; and conversations rewritten so that it can.

Agents send what templates refuse or leave out: instructions in the middle, several of them, results of calls that are not
there, two messages of one role in a row. Each template is tried once with tiny conversations, and only what it fails at is
rewritten; nothing that was said is lost. Rewriting looks at no message but those right before, so that a conversation that
goes on keeps the prompt that it had. `docs/templates.md` lists the rewrites for users.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from ...request import Message, Part, TextPart, ToolCall

Mapping = dict[str, object]
Try = Callable[[list[Mapping], list[Mapping] | None], str | None]
"""Renders messages and tools as templates know them; None where the template fails."""

CallText = Literal["with", "before", "turn"]
"""Beside the calls, in an answer of its own, or in one with an empty word of the user behind it."""

SHORT_ID = 9
"""How long the ids of calls are that Mistral's templates take; letters and digits only."""
_BETWEEN = "\n\n"
_ONE, _TWO, _SAID, _ASKED, _RESULT, _KEY = "zqone", "zqtwo", "zqsaid", "zqasked", "zqresult", "zqkey"
"""Words that no template writes by itself."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be rewritten for a template."""

    tools_native: bool = True
    """False: the template does not describe tools."""
    calls_native: bool = True
    """False: calls or their results are left out, or refused."""
    system_native: bool = True
    """False: there is no system message; its text goes before the first user's."""
    joins_systems: bool = False
    """Several system messages at the beginning become one."""
    moves_systems: bool = False
    """System messages further on become the user's."""
    alternates: bool = False
    """Messages of one role in a row become one."""
    answers_results: bool = False
    """Between a result and the user's next words stands an empty answer."""
    lone_results: bool = True
    """False: a result without its call is refused; it becomes the user's words."""
    wants_user: bool = False
    """Without a user's message the template fails."""
    arguments: bool = True
    """Whether a call's arguments are wanted as an object; False as JSON text."""
    call_text: CallText = "with"
    """Where the text of an answer stands that also calls."""
    filler: str = ""
    """What an empty message says, as some templates refuse those."""
    one_call: bool = False
    """Several calls of one answer become several answers, each with its result behind it."""
    short_ids: bool = False
    """Ids of calls become nine letters and digits."""
    reasoning: bool = False
    """Whether earlier thoughts are shown."""


def find_needs(attempt: Try) -> Needs:
    """Tries a template."""
    user, assistant, other_user = _mapping("user", _ASKED), _mapping("assistant", _SAID), _mapping("user", _TWO)
    tool: Mapping = {"name": _KEY, "description": _ONE, "parameters": {"type": "object", "properties": {}}}
    tools: list[Mapping] = [{"type": "function", "function": tool}]

    def shows(messages: list[Mapping], *words: str) -> bool:
        text = attempt(messages, None)
        return text is not None and all(word in text for word in words)

    system, other = _mapping("system", _ONE), _mapping("system", _TWO)
    with_tools = attempt([user], tools)
    calls, arguments, short_ids, one_call = _try_calls(attempt)
    described = with_tools is not None and _KEY in with_tools
    filler = next((text for text in ("", " ", "-") if shows([user, _mapping("assistant", text), other_user], _TWO)), "")
    called = _calls({_KEY: 1} if arguments else "{}", "abcdefgh1")
    asking: Mapping = {"role": "assistant", "content": "", "tool_calls": called}
    result: Mapping = {"role": "tool", "content": _RESULT, "tool_call_id": "abcdefgh1", "name": "zqname"}
    thought: Mapping = {**assistant, "reasoning_content": _TWO, "tool_calls": called}
    return Needs(
        tools_native=described,
        calls_native=calls,
        system_native=_keeps_system(attempt, [system, user, asking, result] if calls else [system, user]),
        joins_systems=not shows([system, other, user], _ONE, _TWO, _ASKED),
        # Shown at the top it would change the prompt of all that was said before.
        moves_systems=not _in_order(attempt([user, assistant, system, user], None), _SAID, _ONE),
        alternates=not shows([user, other_user], _ASKED, _TWO),
        answers_results=calls
        and not shows([user, asking, result, other_user], _TWO)
        and shows([user, asking, result, _mapping("assistant", filler), other_user], _TWO),
        lone_results=calls and shows([user, {"role": "tool", "content": _RESULT, "tool_call_id": "abcdefgh1"}], _RESULT),
        wants_user=not shows([system], _ONE) or (described and _KEY not in (attempt([system], tools) or "")),
        arguments=arguments,
        call_text=_try_call_text(shows, asking, result, filler) if calls else "with",
        filler=filler,
        one_call=one_call,
        short_ids=short_ids,
        reasoning=shows([user, thought, {"role": "tool", "content": _RESULT, "tool_call_id": "abcdefgh1"}], _TWO),
    )


def rewrite(messages: Sequence[Message], needs: Needs) -> tuple[Message, ...]:
    """Gives a conversation that a template with these needs takes; calls are native by then."""
    said: Iterable[Message] = messages
    if not needs.lone_results:
        said = _claim_results(said)
    if needs.call_text != "with":
        said = tuple(_part_text(said, needs))
    if needs.one_call:
        said = _part_calls(tuple(said))
    if needs.short_ids:
        said = map(_shorten_ids, said)
    said = _place_systems(tuple(said), needs)
    if needs.wants_user or needs.alternates:
        said = _with_user(said, needs)
    if needs.answers_results:
        said = tuple(_answer_results(said, needs.filler))
    said = _join_same(said) if needs.alternates else said
    return tuple(_filled(message, needs.filler) for message in said) if needs.filler else said


def _in_order(text: str | None, first: str, second: str) -> bool:
    return text is not None and 0 <= text.find(first) < text.find(second)


def _keeps_system(attempt: Try, later: list[Mapping]) -> bool:
    """Whether instructions are shown where they stand, and still are when the conversation goes on."""
    talk = [later[0], later[1], _mapping("assistant", _SAID), _mapping("user", _TWO)]
    return _in_order(attempt(later[:2], None), _ONE, _ASKED) and all(
        _in_order(attempt(messages, None), _ONE, _ASKED) for messages in (later, talk)
    )


def _try_call_text(shows: Callable[..., bool], asking: Mapping, result: Mapping, filler: str) -> CallText:
    """Finds where a text is kept that an answer has beside its calls, also after later answers."""
    user, said = _mapping("user", _ASKED), _mapping("assistant", _SAID)
    ways: dict[CallText, list[Mapping]] = {
        "with": [{**asking, "content": _SAID}],
        "before": [said, asking],
        "turn": [said, _mapping("user", filler), asking],
    }
    for way, answer in ways.items():
        begun = [user, *answer, result]
        if all(shows([*begun, *more], _SAID, _KEY, _RESULT) for more in ([], [_mapping("assistant", _TWO)])):
            return way
    return "with"


def _part_text(messages: Iterable[Message], needs: Needs) -> Iterable[Message]:
    """Gives the text that an answer has beside its calls an answer of its own."""
    for message in messages:
        if not message.tool_calls or not message.parts:
            yield message
            continue
        yield msgspec.structs.replace(message, tool_calls=(), reasoning="")
        if needs.call_text == "turn":
            yield Message("user", (TextPart(needs.filler),))
        yield msgspec.structs.replace(message, parts=())


def _filled(message: Message, filler: str) -> Message:
    if message.role not in ("user", "assistant") or message.tool_calls or message.text or message.reasoning:
        return message
    return msgspec.structs.replace(message, parts=(*message.parts, TextPart(filler)))


def _answer_results(messages: Iterable[Message], filler: str) -> Iterable[Message]:
    last: Message | None = None
    unanswered = False
    for message in messages:
        if message.role == "user":
            if unanswered and last is not None and last.role == "tool":
                yield Message("assistant", (TextPart(filler),))
            unanswered = True
        elif message.role == "assistant" and not message.tool_calls:
            unanswered = False
        yield message
        last = message


def _try_calls(attempt: Try) -> tuple[bool, bool, bool, bool]:
    """Tries calls and results: whether they are shown, with arguments as objects, with short ids, and one at a time."""
    for call_id, short in (("call_zq0123456789abcdef", False), ("abcdefgh1", True)):
        for as_object in (True, False):
            arguments: object = {_KEY: "zqvalue"} if as_object else f'{{"{_KEY}": "zqvalue"}}'
            conversation: list[Mapping] = [
                _mapping("user", _ASKED),
                {"role": "assistant", "content": "", "tool_calls": _calls(arguments, call_id)},
                {"role": "tool", "content": _RESULT, "tool_call_id": call_id, "name": "zqname"},
            ]
            text = attempt(conversation, None)
            # A string within a string has its quotes escaped; Python's own notation has other ones.
            if text is None or not all(word in text for word in ("zqname", _KEY, "zqvalue", _RESULT)):
                continue
            if f'\\"{_KEY}' in text or f"'{_KEY}'" in text:
                continue
            two = [*_calls(arguments, call_id), *_calls(arguments, call_id[:-1] + "2", name="zqother")]
            both = attempt([conversation[0], {"role": "assistant", "content": "", "tool_calls": two}, conversation[2]], None)
            return True, as_object, short, both is None or "zqother" not in both
    return False, True, False, False


def _calls(arguments: object, call_id: str, name: str = "zqname") -> list[Mapping]:
    return [{"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}]


def _mapping(role: str, content: str) -> Mapping:
    return {"role": role, "content": content}


def _place_systems(messages: Sequence[Message], needs: Needs) -> tuple[Message, ...]:
    """Puts the instructions where the template takes them."""
    leading = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    first, rest = tuple(messages[:leading]), tuple(messages[leading:])
    if needs.moves_systems or not needs.system_native:
        rest = tuple(_as_user(message) if message.role == "system" else message for message in rest)
    if len(first) > 1 and (needs.joins_systems or not needs.system_native):
        first = (_joined(first),)
    if not first or needs.system_native:
        return (*first, *rest)
    system = _as_user(first[0])
    if rest and rest[0].role == "user":
        return (_joined((system, rest[0])), *rest[1:])
    return (system, *rest)


def _with_user(messages: Sequence[Message], needs: Needs) -> tuple[Message, ...]:
    """Makes the last instruction the user's where nothing else is said, or begins with an empty word of theirs."""
    leading = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    if leading == len(messages):
        return (*messages[:-1], *map(_as_user, messages[-1:]))
    if messages[leading].role == "user":
        return tuple(messages)
    return (*messages[:leading], Message("user", (TextPart(needs.filler),)), *messages[leading:])


def _claim_results(messages: Iterable[Message]) -> Iterable[Message]:
    """Makes results the user's words where no call is before them."""
    claimed: set[str] = set()
    waiting = 0
    for message in messages:
        if message.role == "assistant":
            waiting = len(message.tool_calls)
            claimed = {call.id for call in message.tool_calls}
        elif message.role == "tool":
            known = message.tool_call_id in claimed if message.tool_call_id else waiting > 0
            if not known:
                yield msgspec.structs.replace(message, role="user", tool_call_id=None, name=None)
                continue
        else:
            waiting, claimed = 0, set[str]()
        yield message


def _part_calls(messages: Sequence[Message]) -> Iterable[Message]:
    """Gives each call of an answer its own message, and its result right behind."""
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        if len(message.tool_calls) < 2:
            yield message
            continue
        results: list[Message] = []
        while at < len(messages) and messages[at].role == "tool":
            results.append(messages[at])
            at += 1
        for number, call in enumerate(message.tool_calls):
            parts: tuple[Part, ...] = message.parts if number == 0 else ()
            yield msgspec.structs.replace(
                message, parts=parts, tool_calls=(call,), reasoning=message.reasoning if number == 0 else ""
            )
            own = next((result for result in results if result.tool_call_id == call.id), None)
            own = own or (results[0] if results and not results[0].tool_call_id else None)
            if own is not None:
                results.remove(own)
                yield own
        yield from results


def _shorten_ids(message: Message) -> Message:
    calls = tuple(ToolCall(_short(call.id), call.name, call.arguments) for call in message.tool_calls)
    answered = None if message.tool_call_id is None else _short(message.tool_call_id)
    return msgspec.structs.replace(message, tool_calls=calls, tool_call_id=answered)


def _short(call_id: str) -> str:
    """Gives an id that is always the same for the same one."""
    if len(call_id) == SHORT_ID and call_id.isalnum() and call_id.isascii():
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:SHORT_ID]


def _join_same(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Joins what users, or assistants without calls, say in a row."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is not None and last.role == message.role and message.role in ("user", "assistant") and not last.tool_calls:
            joined[-1] = _joined((last, message))
        else:
            joined.append(message)
    return tuple(joined)


def _joined(messages: Sequence[Message]) -> Message:
    parts: list[Part] = []
    for message in messages:
        if parts and message.parts:
            parts.append(TextPart(_BETWEEN))
        parts += message.parts
    last = messages[-1]
    reasoning = _BETWEEN.join(message.reasoning for message in messages if message.reasoning)
    return msgspec.structs.replace(last, parts=tuple(parts), reasoning=reasoning)


def _as_user(message: Message) -> Message:
    return msgspec.structs.replace(message, role="user", name=None)
