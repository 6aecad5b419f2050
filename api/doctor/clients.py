"""The clients, each with what is peculiar to the way it asks: data, written from what they were seen to send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .conversation import Speaker, Tool
from .speak_chat import ChatSpeaker
from .speak_messages import MessagesSpeaker
from .speak_ollama import OllamaSpeaker
from .speak_responses import ResponsesSpeaker

CHAT = "/v1/chat/completions"
_SYSTEM = "You are a coding agent. You work in the folder /home/you/demo. Use the tools you are given, and be brief."


@dataclass(frozen=True, slots=True)
class Look:
    """What a client asks before it begins, and what it must find."""

    path: str
    holds: tuple[str, ...]
    """Texts that the answer must hold; {model} stands for the model's id."""
    method: Literal["GET", "POST"] = "GET"
    """A POST names the model."""


_MODELS = Look("/v1/models", ('"{model}"', '"data"'))
_TAGS = Look("/api/tags", ('"models"', '"{model}'))


@dataclass(frozen=True, slots=True)
class Client:
    """One client."""

    name: str
    title: str
    speaker: Speaker
    path: str
    setup: str
    """How it is pointed at this server; {url} is the server's address."""
    tools: tuple[Tool, ...] = (
        Tool("write_file", "Writes a file.", ("path", "content")),
        Tool("read_file", "Reads it.", ("path",)),
    )
    """None for clients that ask for edits in the text."""
    extras: Mapping[str, object] = field(default_factory=dict[str, object])
    """What it sends with every request."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    looks: tuple[Look, ...] = (_MODELS,)
    system: str = _SYSTEM


CLIENTS = (
    Client(
        "cline",
        "Cline 3",
        ChatSpeaker(),
        CHAT,
        "provider OpenAI Compatible, base URL {url}/v1",
        tools=(
            Tool("write_to_file", "Writes a file.", ("path", "content")),
            Tool("read_file", "Reads a file.", ("path",)),
            Tool("execute_command", "Runs a command.", ("command",)),
        ),
    ),
    Client(
        "cline-classic",
        "Cline before 3",
        ChatSpeaker(parts=True),
        CHAT,
        "provider OpenAI Compatible, base URL {url}/v1",
        tools=(),
        extras={"temperature": 0},
        system=f"{_SYSTEM} Tools are used by tags: <write_to_file><path>…</path><content>…</content></write_to_file>.",
    ),
    Client(
        "codex",
        "Codex",
        ResponsesSpeaker(),
        "/v1/responses",
        'a model provider with base_url = "{url}/v1" and wire_api = "responses"',
        tools=(Tool("shell", "Runs a command.", ("command",)), Tool("update_plan", "Notes the plan.", ("plan",))),
        extras={"include": ["reasoning.encrypted_content"], "prompt_cache_key": "doctor", "reasoning": {"summary": "auto"}},
    ),
    Client(
        "claude-code",
        "Claude Code",
        MessagesSpeaker(),
        "/v1/messages?beta=true",
        "ANTHROPIC_BASE_URL={url}",
        tools=(Tool("Write", "Writes a file.", ("file_path", "content")), Tool("Read", "Reads a file.", ("file_path",))),
        extras={"metadata": {"user_id": "doctor"}},
        headers={"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219"},
        looks=(),
    ),
    Client(
        "opencode",
        "OpenCode",
        ChatSpeaker(),
        CHAT,
        'a provider with npm "@ai-sdk/openai-compatible" and baseURL {url}/v1',
        tools=(Tool("write", "Writes a file.", ("filePath", "content")), Tool("read", "Reads a file.", ("filePath",))),
        looks=(),
    ),
    Client(
        "continue",
        "Continue",
        ChatSpeaker(),
        CHAT,
        "provider openai, apiBase {url}/v1",
        tools=(Tool("Write", "Writes a file.", ("filepath", "content")), Tool("Read", "Reads a file.", ("filepath",))),
        headers={"x-api-key": "dummy", "api-key": "dummy"},
        looks=(),
    ),
    Client(
        "qwen-code",
        "Qwen Code",
        ChatSpeaker(),
        CHAT,
        "OPENAI_BASE_URL={url}/v1",
        tools=(Tool("write_file", "Writes a file.", ("file_path", "content")), Tool("read_file", "Reads it.", ("path",))),
        looks=(),
    ),
    Client(
        "copilot",
        "GitHub Copilot",
        ChatSpeaker(),
        CHAT,
        "its Ollama provider, at {url}; or server.also_listen = [11434]",
        tools=(Tool("create_file", "Makes a file.", ("filePath", "content")), Tool("read_file", "Reads it.", ("filePath",))),
        looks=(
            Look("/api/version", ('"version"',)),
            _TAGS,
            Look("/api/show", ('"capabilities"', '"general.architecture"', ".context_length"), "POST"),
        ),
    ),
    Client("aider", "aider", ChatSpeaker(), CHAT, "OPENAI_API_BASE={url}/v1", tools=(), extras={"temperature": 0}, looks=()),
    Client(
        "ollama",
        "Ollama's clients",
        OllamaSpeaker(),
        "/api/chat",
        "OLLAMA_HOST={url}, or server.also_listen = [11434]",
        looks=(Look("/api/version", ('"version"',)), _TAGS),
    ),
    Client(
        "lmstudio",
        "LM Studio's clients",
        ChatSpeaker(),
        "/api/v0/chat/completions",
        "the address {url}, or server.also_listen = [1234]",
        looks=(Look("/api/v0/models", ('"{model}"', '"max_context_length"')), _MODELS),
    ),
)
