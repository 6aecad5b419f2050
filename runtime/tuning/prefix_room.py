"""How much room computed prompts get, in memory and on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..config import CacheConfig
from ..frames import PrefixOptions
from ..home import Home
from .load_plan import Choice

MIB = 1024**2
GB = 1000**3
RAM_SHARE = 0.10
MOST_RAM_BYTES = 4096 * MIB
RAM_BYTES_UNKNOWN = 512 * MIB
"""Where the machine's memory is unknown."""
DISK_SHARE = 0.10
"""Of what is free."""
MOST_DISK_BYTES = 20 * GB
DAY_S = 86_400.0
FOLDER = "prefix"
KEY_NAME = "prefix.key"


def choose_prefix(config: CacheConfig, home: Home, memory_bytes: int | None) -> tuple[PrefixOptions, tuple[Choice, ...]]:
    """Decides what is kept of computed prompts and where, with a reason for each; looks at the disk."""
    ram_bytes, why_ram = _ram(config, memory_bytes)
    disk_bytes, why_disk = _disk(config, prefix_folder(home))
    choices = (Choice("prefix memory", ram_bytes, why_ram), Choice("prefix disk", disk_bytes, why_disk))
    if not disk_bytes:
        return PrefixOptions(ram_bytes=ram_bytes), choices
    options = PrefixOptions(
        ram_bytes=ram_bytes,
        disk_dir=str(prefix_folder(home)),
        disk_max_bytes=disk_bytes,
        disk_ttl_s=config.disk_ttl_days * DAY_S,
        key_path=str(home.state_dir / KEY_NAME) if config.encrypt else None,
    )
    return options, choices


def prefix_folder(home: Home) -> Path:
    """Where computed prompts are kept on the disk."""
    return home.cache_dir / FOLDER


def _ram(config: CacheConfig, memory_bytes: int | None) -> tuple[int, str]:
    if config.ram_mb:
        return config.ram_mb * MIB, f"{config.ram_mb} MiB for computed prompts, as the settings say"
    if memory_bytes is None:
        return RAM_BYTES_UNKNOWN, f"{RAM_BYTES_UNKNOWN // MIB} MiB for computed prompts: the memory is unknown"
    room = min(int(memory_bytes * RAM_SHARE), MOST_RAM_BYTES)
    return room, f"{room // MIB} MiB for computed prompts, up to {RAM_SHARE:.0%} of the memory"


def _disk(config: CacheConfig, folder: Path) -> tuple[int, str]:
    if not config.disk:
        return 0, "no computed prompts on the disk, as the settings say"
    if config.disk_max_gb:
        return int(config.disk_max_gb * GB), f"{config.disk_max_gb:g} GB of disk for computed prompts, as the settings say"
    free_bytes = _free_bytes(folder)
    if free_bytes is None:
        return 0, f"no computed prompts on the disk: {folder} cannot be looked at"
    room = min(int(free_bytes * DISK_SHARE), MOST_DISK_BYTES)
    return room, f"{room / GB:.1f} GB of disk for computed prompts, up to {DISK_SHARE:.0%} of what is free"


def _free_bytes(folder: Path) -> int | None:
    """The free space of the disk a folder is on, or will be on."""
    for path in (folder, *folder.parents):
        try:
            return shutil.disk_usage(path).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
