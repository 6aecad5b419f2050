"""Puts a runtime together from settings and environment, without starting anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ..hw.probes.choose import choose_probe
from .config import Config
from .engines.choice import explain_problem, rank_format
from .home import Home
from .logbook import LogBook
from .models.header_cache import FILE_NAME, HeaderCache
from .models.model import Model
from .models.registry import ECHO, SCRIPTED, Registry
from .models.stores import FolderStore, HuggingFaceStore, StarterStore, Store
from .runtime import Runtime

FEW_CORES = 4
SHORT_SPIN = "1500"
"""For GNU's OpenMP: threads that sleep at once cost two thirds of the speed on idle cores, and ones that spin for long cost
others as much; some hundred turns cost neither (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html)."""


def open_runtime(
    config: Config,
    *,
    home: Home,
    config_path: Path,
    logbook: LogBook,
    environment: Mapping[str, str],
    usable_cpus: int,
    echo: bool = False,
    scripted: bool = False,
) -> Runtime:
    """Gives a runtime that is ready to be entered.

    Args:
        config: the settings that hold.
        home: where things are written.
        config_path: the file that changed settings are written to.
        logbook: keeps the log's newest lines.
        environment: the environment variables of this process; engines inherit them.
        usable_cpus: how many cores this process may use.
        echo: whether to offer the model `echo`.
        scripted: whether to offer the model `scripted`.
    """
    return Runtime(
        config,
        home=home,
        config_path=config_path,
        registry=open_registry(
            config, home, environment, builtin=[*([ECHO] if echo else []), *([SCRIPTED] if scripted else [])]
        ),
        models_dir=models_folder(config, home),
        probe=choose_probe(),
        memory_probe=choose_probe(),
        logbook=logbook,
        environment=engine_environment(config, environment, usable_cpus),
    )


def models_folder(config: Config, home: Home) -> Path:
    """The folder of downloaded models."""
    return Path(config.models.dir).expanduser().absolute() if config.models.dir else home.models_dir


def open_registry(config: Config, home: Home, environment: Mapping[str, str], *, builtin: Sequence[Model] = ()) -> Registry:
    """Gives a registry over the stores that the settings name."""
    stores: list[Store] = [FolderStore(models_folder(config, home))]
    if config.models.huggingface_cache:
        stores.append(HuggingFaceStore(huggingface_cache(environment)))
    if config.models.starter:
        stores.append(StarterStore())
    return Registry(
        stores,
        builtin=builtin,
        explain_problem=partial(explain_problem, prefer=config.engine.prefer),
        rank=partial(rank_format, prefer=config.engine.prefer),
        headers=HeaderCache(home.cache_dir / FILE_NAME),
    )


def huggingface_cache(environment: Mapping[str, str]) -> Path:
    """The Hub's cache folder, found as huggingface_hub finds it, but without importing it.

    Source: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    """
    if folder := environment.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    if folder := environment.get("HF_HOME"):
        return Path(folder).expanduser() / "hub"
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache") / "huggingface" / "hub"


def engine_environment(config: Config, environment: Mapping[str, str], usable_cpus: int) -> dict[str, str]:
    """The environment of the engines' processes; says whether their threads sleep or spin while they wait."""
    given = dict(environment)
    # A debugger's report on a process that gives up would take seconds, and push what is wrong out of its last words.
    given.setdefault("GGML_NO_BACKTRACE", "1")
    wait = config.engine.passive_wait
    if wait == "on" or (wait == "auto" and (bool(environment.get("CI")) or usable_cpus <= FEW_CORES)):
        given.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        given.setdefault("GOMP_SPINCOUNT", SHORT_SPIN)
    return given
