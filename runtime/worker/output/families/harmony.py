"""gpt-oss: `<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>`, each answer a row of messages.

Source: https://github.com/openai/harmony/blob/main/docs/format.md
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ....request import Tool
from ..family import Family, WrittenCall
from ..marked import MarkedParser
from ..marks import Marks
from ..named_call import read_arguments
from ..reader import Steps
from ..thoughts import ThoughtMarks
from ..tool_schema import held_arguments

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
_ENDS = (END, CALL, RETURN)
_TO = "to="
_HEADS = (CHANNEL, START, MESSAGE, " " + _TO, _TO)
"""What a message's head begins with."""
_HEAD_END = Marks((MESSAGE,))
_BORDERS = Marks((*_ENDS, START, CHANNEL))
"""What ends a message; its own end may be missing."""
_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([\w.-]+)")
_CHANNEL_NAME = re.compile(r"<\|channel\|>\s*(\w+)")
_PEOPLE = frozenset({"assistant", "user", "all", "system", "developer"})
"""Recipients that are no tools."""
_BUILTIN = frozenset({"python", "browser", "container"})
"""Tools that the model was trained with: what it says to them when nobody offered them is for nobody's eyes."""
_THOUGHT = ThoughtMarks(f"{CHANNEL}analysis{MESSAGE}", END)


class HarmonyParser(MarkedParser):
    """Reads messages one by one: their heads say whether they are thoughts, text or calls."""

    def _read(self) -> Steps[None]:
        yield
        while True:
            head = yield from self.reader.option(*_HEADS)
            if head:
                parts = [head]
                if head != MESSAGE and not (yield from self.reader.until(_HEAD_END, parts.append)):
                    return  # a head alone says nothing
                yield from self._read_message("".join(parts))
            elif (yield from self.reader.peek()):
                yield from self._read_text()
            else:
                return

    def _read_message(self, head: str) -> Steps[None]:
        """Reads what a message says, up to its end."""
        recipient = _RECIPIENT.search(head)
        channel = _CHANNEL_NAME.search(head)
        own = recipient is not None and recipient[1].partition(".")[0] in _BUILTIN and recipient[1] not in self.tools
        if recipient is not None and recipient[1] not in _PEOPLE and self.tools and not own:
            yield from self.reader.blanks()
            if (yield from self.reader.option(*_ENDS)):  # nothing to say is no arguments
                self.outlet.call(recipient[1])
                self.outlet.arguments("{}")
                return
            self.reader.keep()
            if not (yield from read_arguments(self.reader, self.outlet, recipient[1], self.tools, _BORDERS)):
                self.outlet.say(self.reader.kept())
            self.reader.forget()
            yield from self.reader.blanks()
            yield from self.reader.option(*_ENDS)
        elif own or (channel is not None and channel[1] == "analysis"):
            self.outlet.begin_thought()
            yield from self._read_text()
            self.outlet.end_thought()
        else:
            yield from self._read_text()

    def _read_text(self) -> Steps[None]:
        """Hands on all up to the end of the message."""
        mark = yield from self.reader.until(_BORDERS, self.outlet.say, takes=False)
        if mark in _ENDS:
            yield from self.reader.option(mark)

    def read_call(self) -> Steps[bool]:
        """Is never asked for: calls are known by their messages' heads."""
        raise NotImplementedError
        yield


class Harmony(Family):
    """Messages in channels: analysis is a thought, commentary to a function a call, final the answer."""

    name = "harmony"
    marks = (START, CHANNEL, MESSAGE, CONSTRAIN, *_ENDS)
    signs = (CHANNEL, MESSAGE)
    parser = HarmonyParser
    own_thoughts = _THOUGHT

    def __init__(self, thoughts: ThoughtMarks | None = None) -> None:
        super().__init__(None)  # marks that a template quotes are none of this format
        del thoughts
        self.controls = frozenset(self.marks)

    def start(self, what: str, *, thinks: bool, rendered_end: str = "") -> str:
        """Writes the first rule of a grammar: a form stands in the final channel, calls in the commentary."""
        del rendered_end
        said = what.replace("form", f'(%mark "{CHANNEL}" "final" %mark "{MESSAGE}" form)')
        if not thinks:
            return f"start: {said}"
        thought = f'%mark "{CHANNEL}" "analysis" %mark "{MESSAGE}" %until "{END}" %mark "{START}" "assistant"'
        return f"start: thought? {said}\nthought: {thought}"

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`; an answer has one, as the mark behind it ends the answer."""
        del parallel
        return f'calls: %mark "{CHANNEL}" "commentary to=functions." call\n{_rules(tools)}'

    def triggers(self) -> tuple[str, ...]:
        """The head of a message to a function."""
        return (f"{CHANNEL}commentary to=functions.",)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind it."""
        return f"start: call\n{_rules(tools)}"

    def write(self, calls: Sequence[WrittenCall], *, text: str = "", reasoning: str = "") -> str:
        """Writes an answer; what is said beside calls is commentary."""
        again = f"{START}assistant"
        written = [f"{CHANNEL}commentary to=functions.{call.name} {CONSTRAIN}json{MESSAGE}{call.arguments}" for call in calls]
        thought = f"{CHANNEL}analysis{MESSAGE}{reasoning}{END}{again}" if reasoning else ""
        if not written:
            return f"{thought}{CHANNEL}final{MESSAGE}{text}"
        said = f"{CHANNEL}commentary{MESSAGE}{text}{END}{again}" if text else ""
        return thought + said + f"{CALL}{again}".join(written)


def _rules(tools: Sequence[Tool]) -> str:
    rules = ["call: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
    for at, tool in enumerate(tools):
        head = f'"{tool.name} " %mark "{CONSTRAIN}" "json" %mark "{MESSAGE}"'
        rules.append(f"call_{at}: {head} %json {held_arguments(tool)}")
    return "\n".join(rules)
