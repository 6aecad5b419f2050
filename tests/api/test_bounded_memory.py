"""The real server with a real engine on a machine that has too little memory: a control group of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bounded_server import MIB, BoundedServer, bounded_server, memory_group

from impetus.runtime.models.stores import StarterStore

SETTINGS = """
[models]
starter = false
huggingface_cache = false
load_at_start = false
[engine]
context_length = {context_length}
standby = false
[cache]
disk = false
"""

pytestmark = pytest.mark.engine


@pytest.fixture
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BoundedServer]:
    find = next(iter(StarterStore().find()), None)
    if find is None:
        pytest.skip("the starter model is not installed")
    memory_mib, context_length = request.param
    with memory_group(memory_mib * MIB) as group:
        if group is None:
            pytest.skip("no control groups can be made here")
        models = {"one.gguf": find.path, "two.gguf": find.path}
        with bounded_server(group, tmp_path / "home", SETTINGS.format(context_length=context_length), models) as server:
            yield server


@pytest.mark.parametrize("served", [(1000, 8192)], indirect=True)
def test_two_models_that_fit_only_one_at_a_time_are_swapped(served: BoundedServer) -> None:
    for model in ("one", "two", "one"):
        body = {"model": model, "prompt": "One, two,", "max_tokens": 2}
        status, answer = served.post("/v1/completions", body)
        assert status == 200, answer
        assert served.loaded() == {model}
    kinds = [decision["kind"] for decision in reversed(served.governors()["decisions"])]
    assert kinds == ["grant", "evict", "grant", "evict", "grant"]


@pytest.mark.parametrize("served", [(300, 8192)], indirect=True)
def test_a_model_that_does_not_fit_is_refused_with_numbers_and_nothing_is_started(served: BoundedServer) -> None:
    status, answer = served.post("/impetus/v1/models/load", {"model": "one"})
    assert status == 500
    message = str(answer["error"])
    assert re.search(r"it needs 2\d\d MiB, but \d+ MiB are available, of which 30 MiB are left to the system", message)
    assert re.search(r"models may take \d+ MiB together .* and hold 0 MiB", message)
    assert served.loaded() == set()
    assert [decision["kind"] for decision in served.governors()["decisions"]] == ["refuse"]


@pytest.mark.parametrize("served", [(420, 0)], indirect=True)
def test_where_the_settings_leave_the_context_open_it_is_what_fits(served: BoundedServer) -> None:
    status, answer = served.post("/impetus/v1/models/load", {"model": "one"})
    assert status == 200, answer
    context_length = answer["context_length"]
    assert isinstance(context_length, int)
    assert 2048 <= context_length < 8192
