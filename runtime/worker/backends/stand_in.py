"""A stand-in for an able model: does the one task that every agent is tried with, by whatever tools it is offered.

It creates a file that it is asked for ("Create a file named hello.txt with content hi"), looks at it, and finishes; it calls a
tool whose name the question mentions; it fills in a JSON form; and else it says hello. Nothing about an agent is known here
but how the tools of agents are commonly called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from ...request import ChatPrompt, Constraint, Message, Tool
from .script import ScriptedCall, ScriptedTurn, call_with

HELLO = "Hello! This is the scripted model."
Schema = Mapping[str, object]

_TASK = re.compile(
    r"create (?:a |the )?(?:new )?(?:text )?(?:file )?(?:named |called )?[`\"']?(?P<path>[\w./-]+\.\w+)[`\"']?"
    r",? (?:with (?:the )?(?:contents?|text)|containing|that says)(?: of)?:? [`\"']?(?P<content>[\w-]+)",
    re.IGNORECASE,
)
_FOLDER = re.compile(
    r"<cwd>(?P<tag>[^<\n]+)</cwd>|(?:working directory|workspace(?: root| folder)?|working in(?: the directory)?|\"?cwd\"?)"
    r"(?: path| \([^)\n]*\))?:? ?[`\"(]?(?P<path>/[^\s`\",)]+)",
    re.IGNORECASE,
)
_PATH_NAMES = frozenset({"path", "filepath", "absolutepath", "targetfile", "filename", "file"})
_TEXT_NAMES = frozenset({"content", "contents", "filetext", "text", "filecontent", "newtext", "newstring", "newstr"})
_COMMAND_NAMES = frozenset({"command", "cmd", "commands", "script"})
_PATHS_NAMES = frozenset({"paths", "files", "filepaths"})
_WORD = re.compile(r"[a-z]+")
_XML_WRITER = "<write_to_file>"
_EDIT_BLOCKS = "SEARCH/REPLACE"


@dataclass(frozen=True, slots=True)
class Task:
    """A file to be made."""

    path: str
    content: str
    at: int
    """Where in the conversation it was asked for."""

    @property
    def report(self) -> str:
        """What is said in the end."""
        return f"Done: {self.path} holds {self.content}."


def act(prompt: ChatPrompt, constraint: Constraint | None) -> ScriptedTurn:
    """Gives the answer to a conversation."""
    tools = () if prompt.tool_mode == "none" else _offered(prompt)
    task = _find_task(prompt.messages)
    if task is not None and tools:
        return _work(task, prompt, tools)
    if task is not None:
        return _write_without_tools(task, prompt)
    if tools and prompt.messages[-1].role == "user":
        named = _named_tool(prompt.messages[-1].text, tools)
        tool = named or (tools[0] if prompt.tool_mode == "required" else None)
        if tool is not None:
            place = _last_name(prompt.messages[-1].text)
            return ScriptedTurn(calls=(call_with(tool.name, _filled(_schema(tool), {"any": place})),))
    if constraint is not None and constraint.kind in ("json_object", "json_schema"):
        return ScriptedTurn(text=json.dumps(fill_form(json.loads(constraint.text or "{}"))))
    return ScriptedTurn(text=HELLO)


def fill_form(schema: object) -> object:
    """Gives a small value that a simple JSON Schema takes."""
    form = _as_schema(schema)
    if isinstance(choices := form.get("enum"), list) and choices:
        return cast("list[object]", choices)[0]
    if "const" in form:
        return form["const"]
    match form.get("type"):
        case "string":
            return "Paris"
        case "integer":
            return 7
        case "number":
            return 0.5
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            return []
        case _:
            properties = cast("Schema", form.get("properties") or {})
            return {name: fill_form(inner) for name, inner in properties.items()} or {"ok": True}


def _offered(prompt: ChatPrompt) -> tuple[Tool, ...]:
    return tuple(tool for tool in prompt.tools if not prompt.tool_names or tool.name in prompt.tool_names)


def _find_task(messages: Sequence[Message]) -> Task | None:
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "user" and (found := list(_TASK.finditer(messages[at].text))):
            return Task(found[-1]["path"], found[-1]["content"], at)
    return None


def _work(task: Task, prompt: ChatPrompt, tools: Sequence[Tool]) -> ScriptedTurn:
    """Writes the file, reads it, and finishes."""
    since = prompt.messages[task.at :]
    called = [call.name for message in since for call in message.tool_calls]
    results = sum(message.role == "tool" for message in since)
    writer = next((tool for tool in tools if _writes(tool)), None)
    shell = next((tool for tool in tools if _property(tool, _COMMAND_NAMES) and not _property(tool, _PATH_NAMES)), None)
    reader = next((tool for tool in tools if _reads(tool)), None)
    values = {"path": _absolute(task.path, prompt.messages), "text": task.content, "any": "Create the file."}
    if not called:
        if writer is not None:
            return ScriptedTurn(text="I write the file.", calls=(call_with(writer.name, _filled(_schema(writer), values)),))
        if shell is not None:
            values["command"] = f"printf %s {task.content} > {task.path}"
            return ScriptedTurn(text="I write the file.", calls=(call_with(shell.name, _filled(_schema(shell), values)),))
        return ScriptedTurn(text=f"No tool here can write {task.path}.")
    if len(called) == 1 and results and (checker := reader or shell) is not None:
        del values["text"]
        values["command"] = f"cat {task.path}"
        return ScriptedTurn(calls=(call_with(checker.name, _filled(_schema(checker), values)),))
    finisher = next((tool for tool in tools if _finishes(tool)), None)
    if finisher is not None and finisher.name not in called:
        return ScriptedTurn(calls=(_finish(finisher, task),))
    return ScriptedTurn(text=task.report)


def _write_without_tools(task: Task, prompt: ChatPrompt) -> ScriptedTurn:
    """Follows agents that take their tools out of the text."""
    everything = "\n".join(message.text for message in prompt.messages)
    if _XML_WRITER in everything:
        answers = "\n".join(message.text for message in prompt.messages[task.at :] if message.role == "user")
        if "[write_to_file for" not in answers:
            inner = f"<path>{task.path}</path>\n<content>\n{task.content}\n</content>"
            return ScriptedTurn(text=f"I write the file.\n\n{_XML_WRITER}\n{inner}\n</write_to_file>")
        return ScriptedTurn(text=f"<attempt_completion>\n<result>\n{task.report}\n</result>\n</attempt_completion>")
    if _EDIT_BLOCKS in everything:
        block = f"<<<<<<< SEARCH\n=======\n{task.content}\n>>>>>>> REPLACE"
        return ScriptedTurn(text=f"I write the file.\n\n{task.path}\n```\n{block}\n```\n")
    return ScriptedTurn(text=task.report)


def _finish(tool: Tool, task: Task) -> ScriptedCall:
    values = _filled(_schema(tool), {"any": task.report})
    for name, form in _properties(_schema(tool)).items():
        if _type(form) == "boolean":
            values[name] = True
        elif _type(form) == "string" and "enum" not in form:
            values[name] = task.report
    return call_with(tool.name, values)


def _filled(schema: Schema, values: Mapping[str, str]) -> dict[str, object]:
    """Fills a tool's arguments: those whose names say what they are, and what is required besides."""
    required = set(cast("Iterable[str]", schema.get("required") or ()))
    filled: dict[str, object] = {}
    for name, form in _properties(schema).items():
        plain = name.lower().replace("_", "").replace("-", "")
        if plain in _PATH_NAMES and "path" in values:
            filled[name] = values["path"]
        elif plain in _PATHS_NAMES and "path" in values:
            filled[name] = [_as_item(form, values["path"], "path")]
        elif plain in _TEXT_NAMES and "text" in values:
            filled[name] = values["text"]
        elif plain in _COMMAND_NAMES and "enum" in form:
            choices = cast("list[object]", form["enum"])
            filled[name] = "create" if "create" in choices and "text" in values else choices[0]
        elif plain in _COMMAND_NAMES and "command" in values:
            filled[name] = _as_command(form, plain, values["command"])
        elif name in required:
            filled[name] = values["any"] if _type(form) == "string" and "enum" not in form else fill_form(form)
    return filled


def _as_command(form: Schema, name: str, command: str) -> object:
    if _type(form) != "array":
        return command
    if name == "commands":
        return [_as_item(form, command, "command")]
    return ["bash", "-lc", command]


def _as_item(form: Schema, value: str, word: str) -> object:
    """Puts a value into the form that a list's items have."""
    items = cast("Schema", form.get("items") or {})
    if _type(items) != "object":
        return value
    names = list(_properties(items))
    return {next((name for name in names if word in name.lower()), names[0] if names else word): value}


def _writes(tool: Tool) -> bool:
    """Whether it takes a path and the whole text of a file."""
    names = {name.lower() for name in _properties(_schema(tool))}
    replaces = any(name.startswith("old") for name in names) and "command" not in names
    return bool(_property(tool, _PATH_NAMES) and _property(tool, _TEXT_NAMES)) and not replaces


def _reads(tool: Tool) -> bool:
    return "read" in tool.name.lower() and bool(_property(tool, _PATH_NAMES | _PATHS_NAMES))


def _finishes(tool: Tool) -> bool:
    words = set(_WORD.findall(tool.name.lower()))
    return bool(words & {"completion", "finish", "complete", "submit"})


def _named_tool(question: str, tools: Sequence[Tool]) -> Tool | None:
    """Finds a tool of whose name the question has a word that is no everyday one."""
    asked = set(_WORD.findall(question.lower()))
    for tool in tools:
        words = {word for word in _WORD.findall(tool.name.replace("_", " ").lower()) if len(word) > len("tool")}
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", tool.name).replace("_", " ").lower()
        if asked & (words | {word for word in _WORD.findall(spaced) if len(word) > len("tool")}):
            return tool
    return None


def _last_name(question: str) -> str:
    names = re.findall(r"(?<!^)(?<![.?!] )\b[A-Z][a-z]+\b", question)
    return names[-1] if names else "Paris"


def _absolute(path: str, messages: Sequence[Message]) -> str:
    """Puts the agent's folder before a path, where a message names it."""
    if path.startswith("/"):
        return path
    for message in messages:
        if message.role in ("system", "user") and (found := _FOLDER.search(message.text)):
            folder = (found["tag"] or found["path"]).strip().rstrip("./,:)")
            return f"{folder}/{path}"
    return path


def _schema(tool: Tool) -> Schema:
    return _as_schema(json.loads(tool.parameters))


def _as_schema(value: object) -> Schema:
    return cast("Schema", value) if isinstance(value, dict) else {}


def _properties(schema: Schema) -> dict[str, Schema]:
    return {name: _as_schema(form) for name, form in _as_schema(schema.get("properties")).items()}


def _property(tool: Tool, names: frozenset[str]) -> str | None:
    return next((name for name in _properties(_schema(tool)) if name.lower().replace("_", "").replace("-", "") in names), None)


def _type(form: Schema) -> str:
    """The type of a value; of several the first."""
    kind = form.get("type")
    if isinstance(kind, list):
        kind = cast("list[object]", kind)[0] if kind else ""
    return kind if isinstance(kind, str) else ""
