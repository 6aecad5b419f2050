"""Messages to the text a model was trained on, by the model's own chat template.

The template is a stranger's program: it runs in a sandbox, for a limited time. Message texts are strangers' too: what in
them looks like a control token stays mere text.
"""

from __future__ import annotations

import json
import re
import secrets
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import FrameType
from typing import NoReturn, cast

from jinja2 import Environment, Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..request import ImagePart, Message, Tool, ToolCall
from .backends.backend import Refusal

RENDER_LIMIT_S = 5.0
MAX_PRODUCT = 1_000_000
"""The longest sequence a template may make by multiplication, and the largest exponent."""
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""For models that bring no template."""
CHATML_STOP = "<|im_end|>"
_PLACE = "\ufdd8%d\ufdd9"
PICTURE = "<__media__>"
"""Stands for a picture where a conversation is shown as text."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a rendered prompt."""

    text: str
    control: bool
    """Whether control tokens in it count as such; False for what a user wrote that only looks like one."""
    picture: ImagePart | None = None
    """The picture that stands here; the text then only names it."""


class ChatTemplate:
    """A chat template, compiled once.

    Args:
        source: Jinja text.
        bos: the text of the beginning-of-sequence token, or "".
        eos: the same for the end.
        control_texts: every control token's text.
        sees: whether the model takes pictures.
    """

    def __init__(self, source: str, *, bos: str, eos: str, control_texts: Sequence[str], sees: bool = False) -> None:
        self._sees = sees
        self._bos = bos
        self._eos = eos
        longest_first = sorted(filter(None, control_texts), key=len, reverse=True)
        self._controls = "|".join(map(re.escape, longest_first))
        self._forged = re.compile(self._controls) if self._controls else None
        self._template = None
        self.problem: str | None = None
        """Why the template cannot be used, or None."""
        try:
            self._template = _environment().from_string(source)
        except (TemplateError, RecursionError) as error:
            self.problem = f"The model's chat template is broken: {error}"

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        options: Mapping[str, object] | None = None,
        arguments: Callable[[ToolCall], object] | None = None,
        continues: bool = False,
    ) -> list[Segment]:
        """Renders a conversation up to where the assistant's answer begins.

        Args:
            messages: the conversation.
            tools: what the template is to describe.
            options: further variables of the template.
            arguments: gives the arguments of earlier calls, as an object or as text; None is an object.
            continues: whether the last message is the answer's beginning.

        Raises:
            Refusal: the template does not take these messages, or is broken or endless.
        """
        if self._template is None:
            raise Refusal("invalid", self.problem or "The model has no chat template.", param="messages")
        if not self._sees and any(isinstance(part, ImagePart) for message in messages for part in message.parts):
            raise Refusal("invalid", "This model takes text only; a message holds a picture.", param="messages")
        variables: dict[str, object] = {"tools": self._without_tools, **_plain_variables(), **(options or {})}
        for in_parts in (False, True):
            # Some templates for pictures take no text as a message's content, only a list of parts.
            marks = _Marks(self._forged)
            mappings = [_as_mapping(message, marks, arguments or read_arguments, in_parts=in_parts) for message in messages]
            if continues:
                marks.mark_end(mappings[-1])
            if tools:
                described = [{"type": "function", "function": _as_function(tool)} for tool in tools]
                variables["tools"] = _guard_within(described, marks)
                variables["functions"] = _to_json(variables["tools"], indent=2)
            text = self._write(self._template, mappings, variables, begins_answer=not continues)
            if marks.shows_all(text):
                break
        else:
            raise Refusal("invalid", "The model's chat template leaves pictures out.", param="messages")
        if continues:
            text = marks.cut_at_end(text)
        return marks.split(text, self._controls)

    def attempt(
        self,
        messages: list[dict[str, object]],
        tools: list[dict[str, object]] | None,
        options: Mapping[str, object] | None = None,
    ) -> str | None:
        """Renders what is tried on a template; None where it fails."""
        if self._template is None:
            return None
        try:
            variables = {"tools": tools or self._without_tools, **_plain_variables(), **(options or {})}
            if tools:
                variables["functions"] = _to_json(tools, indent=2)
            return self._write(self._template, messages, variables, begins_answer=True)
        except Refusal:
            return None

    @cached_property
    def _without_tools(self) -> list[object] | None:
        """What stands for no tools: some templates take nothing but a list."""
        if self._template is None:
            return None
        for nothing in (None, list[object]()):
            with suppress(Refusal):
                messages: list[dict[str, object]] = [{"role": "user", "content": "-"}]
                self._write(self._template, messages, {"tools": nothing, **_plain_variables()}, begins_answer=True)
                return nothing
        return None

    def _write(
        self,
        template: Template,
        messages: Sequence[dict[str, object]],
        variables: Mapping[str, object],
        *,
        begins_answer: bool,
    ) -> str:
        try:
            with _time_limit(RENDER_LIMIT_S):
                return template.render(
                    messages=messages,
                    bos_token=self._bos,
                    eos_token=self._eos,
                    add_generation_prompt=begins_answer,
                    **variables,
                )
        except _TooLong:
            raise Refusal(
                "invalid", f"The model's chat template did not come to an end in {RENDER_LIMIT_S:.0f} s.", param="messages"
            ) from None
        except Refusal:
            raise
        except Exception as error:
            raise Refusal("invalid", f"The model's chat template refuses these messages: {error}", param="messages") from error


class WrittenObject(dict[str, object]):
    """A JSON object that is shown as somebody wrote it, with that text's spaces and order of keys."""

    def __init__(self, value: Mapping[str, object], text: str) -> None:
        super().__init__(value)
        self.text = text


class _Marks:
    """Puts marks nobody can guess around forged control tokens and for pictures, and finds them again in the rendered text."""

    def __init__(self, forged: re.Pattern[str] | None) -> None:
        self._pattern = forged
        self._used = False
        nonce = secrets.token_hex(8)
        # Noncharacters: no tokenizer, template or alphabet gives them a meaning.
        self._open = f"\ufdd0{nonce}\ufdd1"
        self._close = f"\ufdd2{nonce}\ufdd3"
        self._picture = f"\ufdd4{nonce}\ufdd5"
        self._end = f"\ufdd6{nonce}\ufdd7"
        self._pictures: list[ImagePart] = []

    def guard(self, text: str) -> str:
        """Marks what looks like a control token in a stranger's text."""
        if self._pattern is None or not self._pattern.search(text):
            return text
        self._used = True
        return self._pattern.sub(lambda match: f"{self._open}{match[0]}{self._close}", text)

    def place(self, picture: ImagePart) -> str:
        """Marks where a picture stands."""
        self._pictures.append(picture)
        return self._picture

    def mark_end(self, mapping: dict[str, object]) -> None:
        """Marks where a message's content ends."""
        content = mapping["content"]
        if isinstance(content, str):
            mapping["content"] = content + self._end
        else:
            last = cast("list[dict[str, str]]", content)[-1]
            last["text"] += self._end

    def cut_at_end(self, text: str) -> str:
        """Drops what a template writes behind a message that goes on."""
        before, mark, _ = text.rpartition(self._end)
        if not mark:
            raise Refusal("invalid", "The model's chat template cannot go on with an answer.", param="messages")
        return before

    def shows_all(self, text: str) -> bool:
        """Whether a rendered text has every picture once."""
        return text.count(self._picture) == len(self._pictures)

    def split(self, text: str, controls: str) -> list[Segment]:
        """Cuts a rendered text at the marks; a mark whose partner a template cut away just vanishes."""
        first, *others = text.split(self._picture)
        segments = self._split_words(first, controls)
        for picture, words in zip(self._pictures, others, strict=True):
            segments += [Segment(PICTURE, control=False, picture=picture), *self._split_words(words, controls)]
        return segments

    def _split_words(self, text: str, controls: str) -> list[Segment]:
        if not self._used:
            return [Segment(text, control=True)] if text or not self._pictures else []
        parts = re.split(f"{self._open}({controls}){self._close}", text)
        segments: list[Segment] = []
        for index, part in enumerate(parts):
            bare = part.replace(self._open, "").replace(self._close, "")
            if bare:
                segments.append(Segment(bare, control=index % 2 == 0))
        return segments


def read_arguments(call: ToolCall) -> object:
    """Gives a call's arguments as the object that most templates want; what is none, as it is."""
    try:
        value: object = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return call.arguments
    return cast("dict[str, object]", value) if isinstance(value, dict) else call.arguments


def _as_function(tool: Tool) -> dict[str, object]:
    # Templates loop over the properties of each tool, also of one without any.
    empty: dict[str, object] = {"type": "object", "properties": {}}
    parameters = empty | cast("dict[str, object]", json.loads(tool.parameters))
    return {"name": tool.name, "description": tool.description, "parameters": parameters}


def _as_mapping(
    message: Message, marks: _Marks, arguments: Callable[[ToolCall], object], *, in_parts: bool = False
) -> dict[str, object]:
    """Gives a message the form that templates know; its content is a text, or a list with one."""
    content = _content(message, marks)
    mapping: dict[str, object] = {
        "role": message.role,
        "content": [{"type": "text", "text": content}] if in_parts else content,
    }
    if message.name is not None:
        mapping["name"] = marks.guard(message.name)
    if message.tool_call_id is not None:
        mapping["tool_call_id"] = marks.guard(message.tool_call_id)
    if message.reasoning:
        mapping["reasoning_content"] = marks.guard(message.reasoning)
    if message.tool_calls:
        mapping["tool_calls"] = [
            {
                "id": marks.guard(call.id),
                "type": "function",
                "function": {"name": marks.guard(call.name), "arguments": _arguments(arguments(call), marks)},
            }
            for call in message.tool_calls
        ]
    return mapping


def _content(message: Message, marks: _Marks) -> str:
    """Joins a message's texts, which are guarded as a whole, and the pictures between them."""
    pieces: list[str] = []
    words = ""
    for part in message.parts:
        if isinstance(part, ImagePart):
            pieces += [marks.guard(words), marks.place(part)]
            words = ""
        else:
            words += part.text
    return "".join([*pieces, marks.guard(words)])


def _arguments(arguments: object, marks: _Marks) -> object:
    guarded = _guard_within(arguments, marks)
    if isinstance(arguments, WrittenObject):
        return WrittenObject(cast("dict[str, object]", guarded), marks.guard(arguments.text))
    return guarded


def _guard_within(value: object, marks: _Marks) -> object:
    if isinstance(value, str):
        return marks.guard(value)
    if isinstance(value, list):
        return [_guard_within(item, marks) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {marks.guard(key): _guard_within(item, marks) for key, item in cast("dict[str, object]", value).items()}
    return value


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which besides refuses what ends in one endless native operation that no time limit can interrupt."""

    intercepted_binops = frozenset({"*", "**"})

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        """Lets templates keep lists of their own; what they are given is made for them alone."""
        return (isinstance(obj, list) and attr in ("append", "pop")) or super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        if operator == "**" and not (_is_small(left) and _is_small(right, most=64)):
            raise SecurityError("a power is too large")
        for one, other in ((left, right), (right, left)):
            if isinstance(one, (str, list, tuple, bytes)) and isinstance(other, int):
                size = len(cast("Sequence[object]", one))
                if size * other > MAX_PRODUCT:
                    raise SecurityError("a repeated text is too long")
        return super().call_binop(context, operator, left, right)


def _is_small(value: object, *, most: int = MAX_PRODUCT) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= most


class _GenerationTag(Extension):
    """Lets `{% generation %}` through, by which some templates mark the assistant's words for training."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> Environment:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationTag])
    environment.filters["tojson"] = _to_json
    environment.filters["from_json"] = json.loads
    # Jinja's types know only the globals that it brings itself.
    functions = cast("dict[str, object]", environment.globals)
    functions.update(raise_exception=_raise_exception, strftime_now=_strftime_now)
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    written: list[str] = []
    if indent is None and not sort_keys:
        value = _part_written(value, written)
    # Jinja's own filter escapes <, > and & for HTML, which no model has seen in its training.
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    for number, words in enumerate(written):
        text = text.replace(json.dumps(_PLACE % number, ensure_ascii=ensure_ascii), words, 1)
    return text


def _part_written(value: object, written: list[str]) -> object:
    """Puts a mark in place of each object that is shown as it was written, and collects the texts."""
    if isinstance(value, WrittenObject):
        written.append(value.text)
        return _PLACE % (len(written) - 1)
    if isinstance(value, dict):
        return {key: _part_written(item, written) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_part_written(item, written) for item in cast("Sequence[object]", value)]
    return value


def _plain_variables() -> dict[str, object]:
    """Gives what templates look for besides messages and tools."""
    return {"documents": None, "functions": "", "datetime": _strftime_now("%B %d, %Y")}


def _raise_exception(message: object) -> NoReturn:
    raise TemplateError(str(message))


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)


class _TooLong(BaseException):
    """The time is up; not an Exception, so that nothing in between takes it for an error of its own."""


@contextmanager
def _time_limit(limit_s: float) -> Generator[None]:
    """Ends what runs too long; works in the main thread only."""

    def ring(signum: int, frame: FrameType | None) -> NoReturn:
        del signum, frame
        raise _TooLong

    before: Callable[[int, FrameType | None], object] | int | None = signal.signal(signal.SIGALRM, ring)
    # It rings again: the first ring may be lost in a destructor, whose exceptions go nowhere.
    signal.setitimer(signal.ITIMER_REAL, limit_s, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
