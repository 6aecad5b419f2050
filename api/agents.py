"""Tells agents apart that need something of their own."""

from __future__ import annotations

from aiohttp import web


def is_qwen_code(request: web.Request) -> bool:
    """Whether Qwen Code asks: it gives up after four minutes of nothing but pings, and asks a busy server for ever.

    To servers other than Anthropic's own it gives Claude Code's name, but not the feature that Claude Code always asks for.
    """
    agent = request.headers.get("User-Agent", "").lower()
    features = request.headers.get("anthropic-beta", "")
    return agent.startswith("qwencode/") or (agent.startswith("claude-cli/") and "claude-code-" not in features)
