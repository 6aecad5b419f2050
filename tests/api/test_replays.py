"""Recorded conversations of real agents, turn by turn: what was computed in one turn is not computed again in the next."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from engine_tools import find_starter
from tiny_models import tiny_llama

SESSIONS = Path(__file__).parents[3] / "shared" / "clients" / "replays"
SLACK_TOKENS = 32
"""How much more than the new tokens of a turn may be computed."""
CONTEXT = 1 << 16

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not SESSIONS.is_dir(), reason="the recorded conversations are not here"),
    pytest.mark.timeout(600),
]


def bodies_of(session: str) -> tuple[str, list[dict[str, Any]]]:
    folder = SESSIONS / session
    path = json.loads((folder / "meta.json").read_text())["path"]
    return path, [json.loads(file.read_text()) for file in sorted(folder.glob("[0-9]*.json"))]


def shorten(body: dict[str, Any], path: str) -> dict[str, Any]:
    """Asks for one token and no stream; all else stays as it was recorded."""
    limits = ("max_tokens", "max_completion_tokens", "max_output_tokens", "stream_options")
    kept = {key: value for key, value in body.items() if key not in limits}
    kept |= {"model": "tiny", "stream": False, "temperature": 0}
    kept["max_output_tokens" if path.endswith("responses") else "max_tokens"] = 1
    return kept


def counts(usage: dict[str, Any]) -> tuple[int, int]:
    """Gives how many tokens a prompt has, and how many of them were known."""
    if "cache_read_input_tokens" in usage:
        return usage["input_tokens"] + usage["cache_read_input_tokens"], usage["cache_read_input_tokens"]
    kind = "input" if "input_tokens" in usage else "prompt"
    return usage[f"{kind}_tokens"], usage[f"{kind}_tokens_details"]["cached_tokens"]


def appends(earlier: dict[str, Any], later: dict[str, Any]) -> bool:
    """Whether a turn only adds to the one before."""

    def said(body: dict[str, Any]) -> tuple[str, list[str]]:
        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(inner) for key, inner in value.items() if key != "cache_control"}
            return [plain(inner) for inner in value] if isinstance(value, list) else value

        fixed = json.dumps([plain(body.get(key)) for key in ("system", "instructions", "tools")], sort_keys=True)
        return fixed, [json.dumps(plain(item), sort_keys=True) for item in body.get("messages", body.get("input", []))]

    (fixed, old), (same, new) = said(earlier), said(later)
    return fixed == same and new[: len(old)] == old


@pytest.mark.parametrize("session", ["cline_session", "cline-classic_session", "codex_session", "claude-code_session"])
async def test_only_what_a_turn_adds_is_computed(session: str, tmp_path: Path, serve) -> None:
    models = tmp_path / "models"
    models.mkdir()
    source = tiny_llama(tmp_path / "made.gguf", context_length=CONTEXT, like=find_starter())
    shutil.move(source, models / "tiny.gguf")
    path, bodies = bodies_of(session)
    before = 0
    seen = 0
    async with serve(context_length=CONTEXT, max_body_mb=32) as live:
        for number, body in enumerate(bodies):
            async with live.session.post(live.url + path, json=shorten(body, path)) as response:
                answer = await response.json()
                assert response.status == 200, answer
            prompt_tokens, cached_tokens = counts(answer["usage"])
            if number and appends(bodies[number - 1], body):
                seen += 1
                computed = prompt_tokens - cached_tokens
                assert computed <= prompt_tokens - before + SLACK_TOKENS, f"turn {number + 1}: {computed} of {prompt_tokens}"
            before = prompt_tokens
    assert seen >= 10
