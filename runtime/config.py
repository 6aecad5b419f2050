"""The settings: their names, types and defaults; read from impetus.toml, checked, and written back.

`impetus.toml` beside this package states every one with a comment; a test holds the two against each other.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, cast

import msgspec
import tomli_w
from msgspec import Meta

from .errors import ConfigError

TomlValue = str | int | float | bool | list["TomlValue"] | dict[str, "TomlValue"]


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and how the API listens."""

    host: str = "127.0.0.1"
    port: int = 8080
    api_key: str = ""
    cors_origins: list[str] = []
    max_body_mb: int = 32
    heartbeat_s: float = 5.0
    also_listen: Annotated[list[Annotated[int, Meta(ge=1024, le=65535)]], Meta(max_length=8)] = []
    store_responses: bool = True
    store_max_responses: int = 1000
    store_max_mb: int = 64
    store_max_days: float = 30.0
    common_names: Literal["auto", "on", "off"] = "auto"


class ModelsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where models lie, and which of them are in memory."""

    dir: str = ""
    huggingface_cache: bool = True
    starter: bool = True
    default: str = ""
    load_at_start: bool = True
    load_on_request: bool = True
    max_loaded: int = 2
    pinned: list[str] = []
    idle_unload_s: float = 0.0


KvType = Literal["auto", "f16", "q8_0", "q4_0"]


class EngineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an engine holds a model; 0 stands for "decide by the machine"."""

    threads: int = 0
    prefill_threads: int = 0
    context_length: int = 0
    batch_tokens: int = 0
    max_sequences: int = 16
    gpu_layers: int = -1
    kv_type: KvType = "auto"
    step_target_ms: float = 0.0
    speculative: Literal["off", "lookup", "model"] = "lookup"
    draft_model: str = ""
    draft_tokens: int = 64
    standby: bool = True
    passive_wait: Literal["auto", "on", "off"] = "auto"
    prefer: Literal["auto", "mlx", "torch"] = "auto"
    quantize: Literal["auto", "off", "8bit", "4bit"] = "auto"
    onnx_provider: Literal["cpu", "coreml"] = "cpu"
    tool_family: str = "auto"
    stretch: Literal["auto", "off", "yarn"] = "auto"
    end_loops: bool = True
    load_timeout_s: float = 300.0


class CacheConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of computed prompts; 0 stands for "decide by the machine"."""

    ram_mb: int = 0
    disk: bool = True
    disk_max_gb: float = 0.0
    disk_ttl_days: float = 30.0
    encrypt: bool = False
    normalise: bool = True


class SchedulerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many requests may wait, and which prompts are long."""

    max_queue: int = 256
    long_prompt_tokens: int = 0


class MemoryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much memory models may take, and what is done while it is short."""

    models_percent: float = 0.0
    stop_background: bool = True
    shrink_caches: bool = True
    unload_idle: bool = True
    refuse_long_prompts: bool = True


class HeatConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done while the machine is hot or saves power."""

    stop_background: bool = True
    lower_concurrency: bool = True
    rest_in_prefill: bool = True
    pace_decode: bool = True
    suggest_smaller: bool = True
    refuse_long_prompts: bool = True


class HubConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where models are searched and downloaded."""

    endpoint: str = ""


class DashboardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the dashboard looks and which keys it takes."""

    theme: str = "impetus-dark"
    refresh_s: float = 1.0
    keys: dict[str, str] = {}


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class HardwareOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Facts of the machine that win over what is read; the names are those of `impetus hardware --json`."""

    brand: str | None = None
    model: str | None = None
    generation: Annotated[int, Meta(ge=1, le=99)] | None = None
    tier: str | None = None
    levels: list[tuple[str, Annotated[int, Meta(ge=1, le=4096)]]] = []
    ncpu: Annotated[int, Meta(ge=1, le=4096)] | None = None
    gpu_cores: Annotated[int, Meta(ge=1, le=4096)] | None = None
    memory_bytes: Annotated[int, Meta(ge=1 << 28)] | None = None
    bandwidth_gbs: Annotated[float, Meta(gt=0, le=100_000)] | None = None
    working_set_bytes: Annotated[int, Meta(ge=1 << 28)] | None = None
    max_buffer_bytes: Annotated[int, Meta(ge=1 << 28)] | None = None
    macos: str | None = None
    virtual: bool | None = None
    rosetta: bool | None = None
    fanless: bool | None = None


class HardwareConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known better than it can be read."""

    override: HardwareOverride = HardwareOverride()

    def stated(self) -> dict[str, object]:
        """Gives the facts that are stated, by their names."""
        return msgspec.to_builtins(self.override)


class AliasConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a further name for a model stands for."""

    model: str
    lora: dict[str, Annotated[float, Meta(ge=-100, le=100)]] = {}
    """Scales of adapters, by their names."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings."""

    server: ServerConfig = ServerConfig()
    models: ModelsConfig = ModelsConfig()
    engine: EngineConfig = EngineConfig()
    cache: CacheConfig = CacheConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    memory: MemoryConfig = MemoryConfig()
    heat: HeatConfig = HeatConfig()
    hub: HubConfig = HubConfig()
    dashboard: DashboardConfig = DashboardConfig()
    log: LogConfig = LogConfig()
    hardware: HardwareConfig = HardwareConfig()
    aliases: dict[str, AliasConfig] = {}


def parse_config(text: str, path: Path | None = None) -> Config:
    """Reads settings from TOML text.

    Raises:
        ConfigError: not TOML, an unknown name or a value of the wrong type; with the line, and the nearest valid name.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise ConfigError(f"not valid TOML: {error}", path=path, line=int(line[1]) if line else None) from error
    _refuse_unknown(table, Config, (), text, path)
    try:
        config = msgspec.convert(table, Config)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        keys = tuple(place.strip("`").removeprefix("$.").replace("[...]", "").split(".")) if place else ()
        if keys[:1] == ("aliases",):
            keys = ("aliases", *_wrong_alias(table["aliases"]), *keys[1:])
        name = ".".join(keys) or "settings"
        raise ConfigError(f"{name}: {_in_words(reason)}", path=path, line=_line_of(text, keys)) from error
    _check_ranges(config, text, path)
    return config


def read_config(path: Path) -> Config:
    """Reads a settings file; raises ConfigError, also where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", path=path) from error
    return parse_config(text, path)


def write_setting(path: Path, section: str, key: str, value: TomlValue) -> Config:
    """Changes one setting in a file and leaves everything else in it, comments too, as it was.

    Returns:
        The settings as the file now states them.

    Raises:
        ConfigError: the value does not fit, or the file cannot be read or written; the file is then unchanged.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        wanted = cast("dict[str, dict[str, TomlValue]]", tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", path=path) from error
    wanted.setdefault(section, {})[key] = value
    changed = _edit(text, section, key, value)
    try:
        kept = tomllib.loads(changed) == wanted
    except tomllib.TOMLDecodeError:
        kept = False
    if not kept:
        changed = tomli_w.dumps(wanted)
    config = parse_config(changed, path)
    draft = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(changed, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error}", path=path) from error
    return config


def _edit(text: str, section: str, key: str, value: TomlValue) -> str:
    """Replaces or adds one line; the caller checks that the meaning is right."""
    new = tomli_w.dumps({key: value}).rstrip("\n")
    if isinstance(value, list):
        # A list keeps its one line: one over several lines could not be replaced the next time.
        new = f"{new.partition(' = ')[0]} = {msgspec.json.format(msgspec.json.encode(value), indent=0).decode()}"
    lines = text.splitlines()
    at = _line_of(text, (section, key))
    if at is not None:
        old = lines[at - 1]
        comment = re.search(r"\s+#[^\"']*$", old)
        lines[at - 1] = new + (comment[0] if comment else "")
        return "\n".join(lines) + "\n"
    header = _line_of(text, (section,))
    if header is not None:
        lines.insert(header, new)
        return "\n".join(lines) + "\n"
    return (text.rstrip("\n") + "\n\n" if text.strip() else "") + f"[{section}]\n{new}\n"


def _line_of(text: str, keys: tuple[str, ...]) -> int | None:
    """The line (from 1) of a section or of a setting in it; None where it does not stand on a line of its own."""
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.\"'-]+)\s*\]", line):
            section = tuple(part.strip("\"'") for part in header[1].split("."))
            if section == keys:
                return number
        elif (name := re.match(r"\s*(\"[^\"]+\"|'[^']+'|[\w-]+)\s*=", line)) is not None:
            at = (*section, name[1].strip("\"'"))
            if at == keys[: max(2, len(section) + 1)]:
                return number
    return None


def _wrong_alias(aliases: object) -> Iterator[str]:
    """Names the first alias that is wrong: msgspec does not say which entry of a table it was."""
    for name, settings in cast("dict[str, object]", aliases).items() if isinstance(aliases, dict) else ():
        try:
            msgspec.convert(settings, AliasConfig)
        except msgspec.ValidationError:
            yield name
            return


def _refuse_unknown(
    table: Mapping[str, object], struct: type[msgspec.Struct], at: tuple[str, ...], text: str, path: Path | None
) -> None:
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    for name, value in table.items():
        keys = (*at, name)
        if name not in fields:
            near = get_close_matches(name, fields, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'?" if near else f"valid here: {', '.join(fields)}."
            what = "section" if not at and isinstance(value, dict) else "setting"
            raise ConfigError(f"unknown {what} '{'.'.join(keys)}': {hint}", path=path, line=_line_of(text, keys))
        inner = fields[name]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(value, dict):
            _refuse_unknown(cast("dict[str, object]", value), inner, keys, text, path)
        elif inner == dict[str, AliasConfig] and isinstance(value, dict):
            for alias, settings in cast("dict[str, object]", value).items():
                if isinstance(settings, dict):
                    _refuse_unknown(cast("dict[str, object]", settings), AliasConfig, (*keys, alias), text, path)


_LEAST: dict[tuple[str, str], float] = {
    ("server", "port"): 0, ("server", "max_body_mb"): 1, ("server", "heartbeat_s"): 0.1,
    ("server", "store_max_responses"): 1, ("server", "store_max_mb"): 1, ("server", "store_max_days"): 0,
    ("models", "max_loaded"): 1, ("models", "idle_unload_s"): 0,
    ("engine", "threads"): 0, ("engine", "prefill_threads"): 0, ("engine", "context_length"): 0,
    ("engine", "batch_tokens"): 0, ("engine", "max_sequences"): 1, ("engine", "gpu_layers"): -1,
    ("engine", "step_target_ms"): 0, ("engine", "draft_tokens"): 1, ("engine", "load_timeout_s"): 1,
    ("cache", "ram_mb"): 0, ("cache", "disk_max_gb"): 0, ("cache", "disk_ttl_days"): 0,
    ("scheduler", "max_queue"): 0, ("scheduler", "long_prompt_tokens"): 0, ("memory", "models_percent"): 0,
    ("dashboard", "refresh_s"): 0.2,
}  # fmt: skip
_MOST: dict[tuple[str, str], float] = {
    ("server", "port"): 65535,
    ("server", "heartbeat_s"): 10,
    ("engine", "max_sequences"): 64,
    ("engine", "draft_tokens"): 64,
    ("memory", "models_percent"): 90,
}


def _check_ranges(config: Config, text: str, path: Path | None) -> None:
    # TOML's nan is neither enough nor too much; it has to fail both.
    for limits, right, word in ((_LEAST, float.__ge__, "least"), (_MOST, float.__le__, "most")):
        for (section, key), limit in limits.items():
            if not right(float(getattr(getattr(config, section), key)), float(limit)):
                raise ConfigError(
                    f"{section}.{key}: must be at {word} {limit:g}", path=path, line=_line_of(text, (section, key))
                )


def _in_words(reason: str) -> str:
    return reason.replace("`", "").replace("Expected", "expected", 1)
