from __future__ import annotations

import pytest
from hub_stand_in import HubStandIn, Repo
from mac_profiles import M1_MAX
from tiny_models import tiny_llama

from impetus.hw.profile import CapabilityProfile
from impetus.runtime.errors import DownloadError
from impetus.runtime.models.hub import Hub
from impetus.runtime.models.offer import HubFile
from impetus.runtime.models.recommended import read_list
from impetus.runtime.tuning.recommend import Recommendation, to_profile
from impetus.runtime.tuning.recommend_search import choose_offer, recommend_found, recommend_search

M1_8 = to_profile("Apple M1", 8)


def offered(**sizes_gb: float) -> list[HubFile]:
    return [HubFile(f"m-{name}.gguf", int(size * 1e9), name, ()) for name, size in sizes_gb.items()]


def header(name: str, quantization: str):
    listed = read_list()
    return next(model for model in listed.models if model.name == name).header(quantization, listed.bits)


@pytest.mark.parametrize(
    ("sizes", "machine", "expected"),
    [
        ({"Q4_K_M": 5.0, "Q8_0": 8.7}, M1_MAX, "Q8_0"),
        # 16.4 GB leave 20 tokens a second to no M1 Max.
        ({"Q4_K_M": 5.0, "Q8_0": 8.7, "BF16": 16.4}, M1_MAX, "Q8_0"),
        ({"Q8_0": 8.7, "BF16": 16.4}, M1_8, None),
    ],
)
def test_the_most_precise_one_that_fits_and_is_pleasant_is_taken(sizes, machine, expected):
    found = choose_offer(machine, "a/b", offered(**sizes), header("Qwen3-8B", "Q8_0"))
    if expected is None:
        assert found == "a/b: nothing of it fits with 16,384 tokens of context"
        return
    assert isinstance(found, Recommendation)
    assert (found.quantization, found.pull) == (expected, f"a/b:{expected}")
    assert found.size_bytes == int(sizes[expected] * 1e9)
    assert found.decode.tps >= 20


def test_where_speeds_are_unknown_only_what_a_processor_can_write_with_is_taken():
    machine = CapabilityProfile(host="h", system="Linux 6.1", architecture="x86_64", memory_bytes=M1_MAX.memory_bytes)
    large, small = header("Qwen3-8B", "Q8_0"), header("Qwen3-4B-Instruct-2507", "Q4_K_M")
    assert choose_offer(machine, "a/b", offered(Q8_0=8.7), large).startswith("a/b: it is too large")
    found = choose_offer(machine, "a/b", offered(Q4_K_M=2.5, F16=8.0), small)
    assert isinstance(found, Recommendation)
    assert found.quantization == "Q4_K_M"


async def test_what_a_search_finds_is_read_and_what_cannot_be_is_told(tmp_path):
    path = tiny_llama(tmp_path / "tiny-F32.gguf")
    async with HubStandIn() as hub:
        hub.repos["some/tiny-GGUF"] = Repo({"tiny-F32.gguf": path.read_bytes()}, downloads=20)
        hub.repos["some/tiny-broken-GGUF"] = Repo({"tiny-Q4_0.gguf": b"GGUF, but no more of it"})
        found = await recommend_search(Hub(endpoint=hub.url), M1_MAX, "tiny")
        assert [model.model for model in found.models] == ["some/tiny-GGUF"]
        assert found.models[0].decode.tps > 100
        assert found.models[0].pull == "some/tiny-GGUF:F32"
        assert len(found.notes) == 1
        assert "some/tiny-broken-GGUF" in found.notes[0]
        nothing = await recommend_search(Hub(endpoint=hub.url), M1_MAX, "no such thing")
        assert nothing.models == ()
        assert nothing.notes == ("the Hub finds nothing for 'no such thing'",)
    with pytest.raises(DownloadError):
        await recommend_search(Hub(endpoint=hub.url), M1_MAX, "tiny")


async def test_before_the_machine_is_known_nothing_is_asked():
    async with HubStandIn() as hub:
        url = hub.url
    found = await recommend_found(Hub(endpoint=url), None, "tiny")
    assert (found.models, found.notes) == ([], ["this machine has not been looked at yet"])
