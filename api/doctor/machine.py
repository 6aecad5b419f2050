"""What can be told without a server: ports, key, disk, engines, hardware, models."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import msgspec

from ...hw.detector import HardwareDetector
from ...hw.override import to_override
from ...hw.probes.choose import choose_probe
from ...runtime.config import Config
from ...runtime.home import Home
from ...runtime.loopback import is_loopback
from ...runtime.opening import models_folder, open_registry
from ...runtime.tuning.prefix_room import prefix_folder
from ..ports import find_holder
from .check import Check, Verdict

GROUP = "machine"
GB = 1000**3
LITTLE_DISK_GB = 5
SHORT_KEY = 16
_IMPORT_S = 60.0
_SAMPLE_S = 0.2
_USUAL = ((11434, "Ollama's clients"), (1234, "LM Studio's clients"))
_ENGINES = (("llama_cpp", "GGUF"), ("mlx_lm", "MLX"), ("onnxruntime", "ONNX"), ("torch", "PyTorch"), ("coremltools", "Core ML"))


def examine_machine(config: Config, home: Home, environment: Mapping[str, str], *, ours: Sequence[int]) -> Iterator[Check]:
    """Looks at everything; blocks for some seconds. `ours` are the ports where a running Impetus answers."""
    yield from _ports(config, ours)
    yield _access(config)
    yield _folder("models folder", models_folder(config, home))
    yield (
        _folder("cache folder", prefix_folder(home))
        if config.cache.disk
        else _check("cache folder", "skip", "cache.disk is off")
    )
    for package, title in _ENGINES:
        yield _engine(package, title)
    yield from _hardware(config)
    yield from _models(config, home, environment)


def _check(name: str, verdict: Verdict, found: str, change: str | None = None) -> Check:
    return Check(GROUP, name, verdict, found, change)


def _ports(config: Config, ours: Sequence[int]) -> Iterator[Check]:
    server = config.server
    wanted = dict.fromkeys([server.port, *server.also_listen]) if server.port else dict.fromkeys(server.also_listen)
    for port in wanted:
        name = f"port {port}"
        if port in ours:
            yield _check(name, "pass", "Impetus answers there")
        elif _is_answered(port):
            yield _check(name, "fail", find_holder(port), "Stop that program, or change server.port or server.also_listen.")
        else:
            yield _check(name, "pass", "free")
    for port, who in _USUAL:
        if port not in wanted and port in ours:
            yield _check(f"port {port}", "pass", "Impetus answers there")
        elif port not in wanted:
            found = find_holder(port) if _is_answered(port) else f"free; {who} look there by themselves"
            yield _check(f"port {port}", "skip", found, f"server.also_listen = [{port}] lets them find Impetus.")


def _is_answered(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False


def _access(config: Config) -> Check:
    server = config.server
    if not is_loopback(server.host) and len(server.api_key) < SHORT_KEY:
        found = "a short key" if server.api_key else "no key"
        change = f"Set server.api_key to {SHORT_KEY} characters or more, or server.host to 127.0.0.1."
        return _check("access", "fail", f"others reach {server.host} with {found}", change)
    if "*" in server.cors_origins and not server.api_key:
        change = "List the pages in server.cors_origins, or set server.api_key."
        return _check("access", "fail", "every web page may call the API, without a key", change)
    return _check("access", "pass", f"{server.host}, {'with' if server.api_key else 'without'} a key")


def _folder(name: str, folder: Path) -> Check:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK):
        return _check(name, "fail", f"{there} cannot be written to", "Give yourself the right, or set another folder.")
    free_gb = shutil.disk_usage(there).free / GB
    if free_gb < LITTLE_DISK_GB:
        return _check(name, "fail", f"{free_gb:.1f} GB free at {folder}", "Make room: models and computed prompts need it.")
    return _check(name, "pass", f"{free_gb:.0f} GB free at {folder}")


def _engine(package: str, title: str) -> Check:
    name = f"engine for {title}"
    needed = package == "llama_cpp"
    if find_spec(package) is None:
        change = "Run `make run`, which builds it for this machine." if needed else None
        return _check(name, "fail" if needed else "skip", f"{package} is not installed", change)
    command = [sys.executable, "-P", "-m", "impetus.runtime.worker.about", package]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_IMPORT_S, check=False)
    except subprocess.TimeoutExpired:
        return _check(name, "fail", f"{package} was not imported within {_IMPORT_S:.0f} s", "Install it anew.")
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        how = last[0] if last else f"exit code {done.returncode}"
        return _check(name, "fail", f"{package} cannot be imported: {how}", "Install it anew: `make clean run`.")
    return _check(name, "pass", msgspec.json.decode(done.stdout, type=str))


def _hardware(config: Config) -> Iterator[Check]:
    probe = choose_probe()
    profile = HardwareDetector(probe, to_override(config.hardware.stated())).detect()
    probe.read_sample(())
    time.sleep(_SAMPLE_S)  # a load is measured from look to look
    sample = probe.read_sample(())
    for name, reading, vital in (("machine", profile, "memory_bytes"), ("load", sample, "memory_available_bytes")):
        unknown = [field.name for field in fields(reading) if getattr(reading, field.name) is None]
        known = len(fields(reading)) - len(unknown)
        found = f"{known} facts read; not told here: {', '.join(unknown) or 'none'}"
        change = "Without the memory's size contexts are planned small." if vital in unknown else None
        yield _check(f"hardware: {name}", "fail" if vital in unknown else "pass", found, change)


def _models(config: Config, home: Home, environment: Mapping[str, str]) -> Iterator[Check]:
    models = open_registry(config, home, environment).scan()
    sound = [model.id for model in models if model.problem is None]
    if sound:
        yield _check("models", "pass", ", ".join(sound))
    else:
        yield _check("models", "fail", "none that can be served", "`impetus pull owner/repo` gets one.")
    for model in models:
        if model.problem is not None:
            yield _check(f"model {model.id}", "fail", model.problem, f"Download it again, or delete {model.path}.")
