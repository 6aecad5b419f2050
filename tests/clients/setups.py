"""How each client is told of a server, as its own documentation has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from installs import npm_bin, npm_folder, python_bin
from sandbox import Client

Prepare = Callable[[Client], list[str]]
"""Writes a client's settings and gives its command."""
CHECKS = Path(__file__).parent / "checks"


def cline(provider: str, path: str, *extra: str) -> Prepare:
    """Cline 3: the AI SDK behind three kinds of providers."""

    def prepare(client: Client) -> list[str]:
        data = client.home / "cline"
        chosen = {"provider": provider, "apiKey": "none", "model": client.model, "baseUrl": client.root + path}
        entry = {"settings": chosen, "updatedAt": "2026-01-01T00:00:00.000Z", "tokenSource": "manual"}
        providers = {"version": 1, "lastUsedProvider": provider, "modes": {}, "providers": {provider: entry}}
        client.write("cline/settings/providers.json", json.dumps(providers))
        quiet = client.write("cline/settings/global.json", json.dumps({"telemetryOptOut": True, "autoUpdateEnabled": False}))
        client.env |= {"CLINE_NO_AUTO_UPDATE": "1", "CLINE_GLOBAL_SETTINGS_PATH": str(quiet)}
        command = [npm_bin("cline", "cline"), "--json", "--data-dir", str(data), "-P", provider, "-m", client.model]
        return [*command, "--retries", "3", "-c", str(client.work), *extra, client.task]

    return prepare


def cline_classic(provider: str, key: str, url: str, path: str) -> Prepare:
    """The core of Cline 2, as in the older extensions for VS Code: tools are XML in the text."""

    def prepare(client: Client) -> list[str]:
        state: dict[str, object] = {"welcomeViewCompleted": True, "telemetrySetting": "disabled", url: client.root + path}
        for mode in ("act", "plan"):
            state |= {f"{mode}ModeApiProvider": provider, f"{mode}Mode{key}ModelId": client.model}
        client.write(".cline/data/globalState.json", json.dumps(state))
        client.write(".cline/data/secrets.json", json.dumps({"openAiApiKey": "none"}))
        return [npm_bin("cline-classic", "cline"), "task", "--json", "-y", "-t", "1500", client.task]

    return prepare


def opencode(client: Client) -> list[str]:
    """OpenCode with a provider of the OpenAI kind."""
    model = {"name": client.model, "tool_call": True, "limit": {"context": 65536, "output": 2048}}
    local = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "local",
        "options": {"baseURL": client.v1, "apiKey": "none"},
        "models": {client.model: model},
    }
    named = f"local/{client.model}"
    settings = {"provider": {"local": local}, "model": named, "small_model": named, "autoupdate": False, "share": "disabled"}
    client.write(".config/opencode/opencode.json", json.dumps(settings))
    for switch in ("AUTOUPDATE", "MODELS_FETCH", "DEFAULT_PLUGINS", "LSP_DOWNLOAD"):
        client.env[f"OPENCODE_DISABLE_{switch}"] = "1"
    return [npm_bin("opencode", "opencode"), "run", "--pure", "-m", named, "--auto", "--format", "json", client.task]


def continue_cli(provider: str, path: str) -> Prepare:
    """Continue's command line with one of its providers."""

    def prepare(client: Client) -> list[str]:
        model = {"name": "local", "provider": provider, "model": client.model, "apiBase": client.root + path, "apiKey": "none"}
        model |= {"roles": ["chat"], "capabilities": ["tool_use"]}
        # JSON is YAML too.
        config = {"name": "local", "version": "1.0.0", "schema": "v1", "models": [model]}
        settings = client.write(".continue/config.yaml", json.dumps(config))
        for switch in ("TELEMETRY", "METRICS", "CLI_ENABLE_TELEMETRY"):
            client.env[f"CONTINUE_{switch}" + ("" if switch.startswith("CLI") else "_ENABLED")] = "0"
        return [npm_bin("continue", "cn"), "-p", "--auto", "--config", str(settings), client.task]

    return prepare


_CODEX = ("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json")


def codex(client: Client) -> list[str]:
    """Codex with a provider of its own."""
    client.write(
        ".codex/config.toml",
        f'model = "{client.model}"\nmodel_provider = "impetus"\ncheck_for_update_on_startup = false\n'
        "[analytics]\nenabled = false\n"
        f'[model_providers.impetus]\nname = "impetus"\nbase_url = "{client.v1}"\nenv_key = "IMPETUS_KEY"\n'
        'wire_api = "responses"\nrequires_openai_auth = false\nrequest_max_retries = 1\nstream_max_retries = 1\n',
    )
    client.env["IMPETUS_KEY"] = "none"
    return [npm_bin("codex", "codex"), *_CODEX, client.task]


def codex_local(provider: str) -> Prepare:
    """Codex's own switch for local servers."""

    def prepare(client: Client) -> list[str]:
        client.write(".codex/config.toml", "check_for_update_on_startup = false\n[analytics]\nenabled = false\n")
        client.env["CODEX_OSS_BASE_URL"] = client.v1
        local = ["--oss", "--local-provider", provider, "-m", client.model]
        return [npm_bin("codex", "codex"), *_CODEX, *local, client.task]

    return prepare


def claude_code(client: Client) -> list[str]:
    """Claude Code, with every tier of model the same."""
    client.env |= {"ANTHROPIC_BASE_URL": client.root, "ANTHROPIC_AUTH_TOKEN": "none"}
    for name in ("ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL"):
        client.env[name] = client.model
    for switch in ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "IS_SANDBOX"):
        client.env[switch] = "1"
    client.env["DISABLE_ERROR_REPORTING"] = "1"
    output = ["-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions", "--max-turns", "8"]
    return [npm_bin("claude-code", "claude"), *output, "--model", client.model, client.task]


def qwen_code(kind: str, path: str) -> Prepare:
    """Qwen Code over one of three dialects."""

    def prepare(client: Client) -> list[str]:
        quiet = {"general": {"disableAutoUpdate": True, "enableAutoUpdate": False}, "telemetry": {"enabled": False}}
        client.write(".qwen/settings.json", json.dumps(quiet | {"privacy": {"usageStatisticsEnabled": False}}))
        prefix = "ANTHROPIC" if kind == "anthropic" else "OPENAI"
        client.env |= {
            f"{prefix}_API_KEY": "none",
            f"{prefix}_BASE_URL": client.root + path,
            f"{prefix}_MODEL": client.model,
            "QWEN_TELEMETRY_ENABLED": "false",
        }
        limits = ["--yolo", "--max-session-turns", "8", "-o", "stream-json"]
        return [npm_bin("qwen-code", "qwen"), "--auth-type", kind, "--model", client.model, *limits, client.task]

    return prepare


def aider(client: Client) -> list[str]:
    """Aider, which edits by blocks in the text."""
    facts = {"max_input_tokens": 65536, "max_output_tokens": 2048, "input_cost_per_token": 0, "output_cost_per_token": 0}
    facts |= {"litellm_provider": "openai", "mode": "chat"}  # type: ignore[dict-item]
    metadata = client.write("models.json", json.dumps({f"openai/{client.model}": facts}))
    client.env |= {"OPENAI_API_KEY": "none", "OPENAI_API_BASE": client.v1, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    client.env["AIDER_ANALYTICS_DISABLE"] = "true"
    switches = ["no-git", "no-check-update", "analytics-disable", "no-show-model-warnings", "no-show-release-notes"]
    switches += ["no-detect-urls", "no-pretty", "no-suggest-shell-commands", "yes-always"]
    model = ["--model", f"openai/{client.model}", "--model-metadata-file", str(metadata), "--edit-format", "diff"]
    flags = [f"--{switch}" for switch in switches]
    return [python_bin("aider", "aider"), *model, *flags, "--map-tokens", "0", "--message", client.task, "hello.txt"]


def sdk(name: str, environment: str = "sdks") -> Prepare:
    """A Python library, by the checks of this folder."""
    return lambda client: [python_bin(environment), str(CHECKS / f"{name}.py"), client.root, client.model]


def openai_js(client: Client) -> list[str]:
    """OpenAI's library for JavaScript, which is found from where the program lies."""
    program = npm_folder("openai-js") / "check.mjs"
    program.write_text((CHECKS / "openai.mjs").read_text())
    return ["node", str(program), client.v1, client.model]


def llm(client: Client) -> list[str]:
    """The command line `llm`."""
    known = {"model_id": "local", "model_name": client.model, "api_base": client.v1, "api_key_name": "local"}
    client.write("llm/extra-openai-models.yaml", json.dumps([known]))
    client.write("llm/keys.json", json.dumps({"local": "none"}))
    client.env["LLM_USER_PATH"] = str(client.home / "llm")
    return [python_bin("chains", "llm"), "-m", "local", "Say hello."]


AGENTS: dict[str, Prepare] = {
    "cline": cline("openai-compatible", "/v1"),
    "cline-yolo": cline("openai-compatible", "/v1", "--yolo"),
    "cline-ollama": cline("ollama", ""),
    "cline-lmstudio": cline("lmstudio", "/v1"),
    "cline-classic": cline_classic("openai", "OpenAi", "openAiBaseUrl", "/v1"),
    "cline-classic-ollama": cline_classic("ollama", "Ollama", "ollamaBaseUrl", ""),
    "cline-classic-lmstudio": cline_classic("lmstudio", "LmStudio", "lmStudioBaseUrl", ""),
    "opencode": opencode,
    "continue": continue_cli("openai", "/v1"),
    "continue-ollama": continue_cli("ollama", ""),
    "continue-lmstudio": continue_cli("lmstudio", "/v1/"),
    "codex": codex,
    "codex-ollama": codex_local("ollama"),
    "codex-lmstudio": codex_local("lmstudio"),
    "claude-code": claude_code,
    "qwen-code": qwen_code("openai", "/v1"),
    "qwen-code-responses": qwen_code("openai-responses", "/v1"),
    "qwen-code-anthropic": qwen_code("anthropic", ""),
    "aider": aider,
}
"""Those that do a task: they must make the file."""
LIBRARIES: dict[str, Prepare] = {
    "openai-python": sdk("openai_sdk"),
    "openai-js": openai_js,
    "anthropic-python": sdk("anthropic_sdk"),
    "ollama-python": sdk("ollama_sdk"),
    "lmstudio-python": sdk("lmstudio_sdk"),
    "langchain-openai": sdk("langchain_sdk", "chains"),
    "litellm": sdk("litellm_sdk", "chains"),
    "llm": llm,
}
"""Those that only ask: they must end well."""
