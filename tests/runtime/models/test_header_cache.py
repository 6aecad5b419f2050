from __future__ import annotations

import os
from pathlib import Path

import pytest
from crafted_gguf import make_gguf

from impetus.runtime.models import header_cache
from impetus.runtime.models.header_cache import HeaderCache
from impetus.runtime.models.registry import Registry
from impetus.runtime.models.stores import FolderStore


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "one.gguf").write_bytes(make_gguf())
    (folder / "two.gguf").write_bytes(make_gguf())
    (folder / "damaged.gguf").write_bytes(b"GGUF")
    return folder


def scanned(models: Path, cache: Path) -> tuple[Registry, tuple[object, ...]]:
    """What a new process finds."""
    registry = Registry([FolderStore(models)], headers=HeaderCache(cache))
    return registry, registry.scan()


def test_a_new_process_opens_only_what_is_new_or_changed(models: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "headers"
    registry, found = scanned(models, cache)
    assert registry.headers_read == 3
    assert [model.id for model in registry.models if model.problem] == ["damaged"]
    again, same = scanned(models, cache)
    assert (again.headers_read, same) == (0, found)
    for before, after in zip(registry.models, again.models, strict=True):
        assert before.header.chat_template == after.header.chat_template
    os.utime(models / "one.gguf", ns=(1, 1))
    (models / "three.gguf").write_bytes(make_gguf())
    (models / "two.gguf").unlink()
    third, _ = scanned(models, cache)
    assert third.headers_read == 2
    assert [model.id for model in third.models] == ["damaged", "one", "three"]
    assert scanned(models, cache)[0].headers_read == 0


def test_what_other_code_made_is_not_believed(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "headers"
    scanned(models, cache)
    monkeypatch.setattr(header_cache, "_made_by", lambda: "another")
    assert scanned(models, cache)[0].headers_read == 3
    assert scanned(models, cache)[0].headers_read == 0


@pytest.mark.parametrize("damage", [b"", b"\x81", b"not at all", b"\xc1" * 50])
def test_a_damaged_memory_is_made_anew(models: Path, tmp_path: Path, damage: bytes) -> None:
    cache = tmp_path / "headers"
    scanned(models, cache)
    for body in (damage, cache.read_bytes()[:-9]):
        cache.write_bytes(body)
        assert scanned(models, cache)[0].headers_read == 3
    assert scanned(models, cache)[0].headers_read == 0


def test_a_place_that_cannot_be_written_costs_nothing_but_time(models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "headers"
    for _ in range(2):
        assert scanned(models, cache)[0].headers_read == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "models"]


def test_nothing_is_written_where_nothing_changed(models: Path, tmp_path: Path) -> None:
    cache = tmp_path / "headers"
    registry, _ = scanned(models, cache)
    age = cache.stat().st_mtime_ns
    registry.scan()
    scanned(models, cache)
    assert cache.stat().st_mtime_ns == age
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["headers"]
