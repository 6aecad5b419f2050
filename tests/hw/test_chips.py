from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impetus.hw.chips import CHIPS, level_names, lookup, memory_sizes, name_of_parts, name_of_soc, parse_brand
from impetus.hw.macs import CHIP_BY_MODEL, FANLESS_MACS, is_fanless, is_fanless_by_name

GIB = 1024**3


@pytest.mark.parametrize(
    ("brand", "name", "generation", "tier", "virtual"),
    [
        ("Apple M1", "Apple M1", 1, "Base", False),
        ("Apple M1 ", "Apple M1", 1, "Base", False),
        ("  Apple  M4   Max\n", "Apple M4 Max", 4, "Max", False),
        ("Apple M1 (Virtual)", "Apple M1", 1, "Base", True),
        ("Apple M3 Ultra (Virtual)", "Apple M3 Ultra", 3, "Ultra", True),
        ("Apple A18 Pro", "Apple A18 Pro", None, "Base", False),
        ("Apple M12 Extreme", "Apple M12 Extreme", 12, "Extreme", False),
    ],
)
def test_a_brand_says_generation_and_tier(brand, name, generation, tier, virtual):
    parsed = parse_brand(brand)
    assert (parsed.name, parsed.generation, parsed.tier, parsed.virtual) == (name, generation, tier, virtual)


@pytest.mark.parametrize(
    "brand",
    [
        "Apple processor",
        "VirtualApple @ 2.50GHz",
        "Intel(R) Core(TM) i7",
        "",
        "Apple M",
        "Apple M4 Max Max",
        "Apple Paravirtual device",
    ],
)
def test_other_brands_say_nothing(brand):
    assert parse_brand(brand) is None
    assert lookup(brand) is None


@pytest.mark.parametrize("brand", CHIPS)
def test_each_bin_is_found_by_what_tells_it_apart(brand):
    for each in CHIPS[brand].bins:
        facts = lookup(brand, gpu_cores=each.gpu_cores, cpu_cores=each.cpu_cores, memory_bytes=(each.max_memory_gb or 36) * GIB)
        assert facts.known
        assert facts.bandwidth_gbs == each.bandwidth_gbs
        assert facts.bandwidth_estimated == each.assumed
        assert facts.levels == each.levels


@pytest.mark.parametrize(
    ("brand", "gpu", "cpu", "gib", "bandwidth", "estimated", "cores"),
    [
        ("Apple M3 Max", None, 14, None, 300, False, 30),
        ("Apple M3 Max", 40, None, None, 400, False, 40),
        ("Apple M3 Max", None, None, None, 300, True, None),
        ("Apple M4 Max", None, None, 36, 410, False, 32),
        ("Apple M4 Max", None, None, 64, 546, False, 40),
        ("Apple M5 Max", 32, 18, 128, 460, False, 32),
        ("Apple M5 Max", None, 18, 128, 614, False, 40),
        ("Apple M5 Max", None, 18, None, 460, True, None),
        ("Apple M3 Max", None, None, 36, 300, False, 30),
        ("Apple M6", 12, 12, 16, 153, False, 12),
        ("Apple M6", 12, 12, 32, 170, False, 12),
        ("Apple M5 Ultra", 64, 36, 256, 1200, True, None),
        ("Apple M1", None, 8, 16, 68.25, False, None),
        ("Apple A18 Pro", None, 6, 8, 60, True, 5),
    ],
)
def test_a_bin_that_cannot_be_told_gives_the_lesser_bandwidth_as_an_estimate(brand, gpu, cpu, gib, bandwidth, estimated, cores):
    facts = lookup(brand, gpu_cores=gpu, cpu_cores=cpu, memory_bytes=gib * GIB if gib else None)
    assert (facts.bandwidth_gbs, facts.bandwidth_estimated, facts.gpu_cores) == (bandwidth, estimated, cores)


@pytest.mark.parametrize(
    ("brand", "gpu", "bandwidth"),
    [
        ("Apple M9 Max", 40, 614),
        ("Apple M9 Max", 32, 460),
        ("Apple M9 Max", None, 460),
        ("Apple M9 Max", 64, 614),
        ("Apple M7", 12, 153),
        ("Apple M7 Pro", 20, 307),
        ("Apple M7 Ultra", 96, 1200),
        ("Apple A20 Pro", None, 60),
        ("Apple M9 Extreme", 160, 1920),
        ("Apple M9 Extreme", None, None),
    ],
)
def test_an_unknown_chip_is_taken_for_the_newest_of_its_tier(brand, gpu, bandwidth):
    facts = lookup(brand, gpu_cores=gpu, memory_bytes=128 * GIB)
    assert not facts.known
    assert facts.bandwidth_estimated
    assert facts.bandwidth_gbs == bandwidth
    assert facts.gpu_cores is None
    assert facts.levels is None


@given(st.text(), st.none() | st.integers(), st.none() | st.integers(), st.none() | st.integers())
def test_nothing_that_a_probe_may_say_raises(brand, gpu, cpu, memory):
    lookup(brand, gpu_cores=gpu, cpu_cores=cpu, memory_bytes=memory)
    lookup("Apple M4 Max", gpu_cores=gpu, cpu_cores=cpu, memory_bytes=memory)
    lookup("Apple M99 Max", gpu_cores=gpu, cpu_cores=cpu, memory_bytes=memory)
    is_fanless(brand)


def test_silicon_has_a_name():
    assert name_of_soc("T8103") == "Apple M1"
    assert name_of_soc("t6034") == "Apple M3 Max"
    assert name_of_soc("t9999") is None
    assert len({soc for chip in CHIPS.values() for soc in chip.soc}) == sum(len(chip.soc) for chip in CHIPS.values())


def test_counts_of_cores_name_the_levels_where_the_chip_is_sold_so():
    assert [level.name for level in level_names("Apple M5 Max", [12, 6])] == ["Super", "Performance"]
    assert [level.cores for level in level_names("Apple M6", [6, 0, 2, 4])] == [2, 4, 6]
    assert level_names("Apple M2 Pro", [9, 3]) == ()
    assert level_names("Apple M9", [4, 4]) == ()
    assert level_names("Intel", [4]) == ()


def test_memory_sizes_are_those_a_chip_was_sold_with():
    assert [size // GIB for size in memory_sizes("Apple A18 Pro")] == [8]
    assert 512 * GIB in memory_sizes("Apple M3 Ultra")
    assert memory_sizes("Apple M9") == ()


def test_each_listed_model_has_a_chip_of_the_table():
    assert set(CHIP_BY_MODEL.values()) <= set(CHIPS)
    assert {model for model in FANLESS_MACS if not model.startswith("MacBook")} <= set(CHIP_BY_MODEL)
    # Only base chips go without a fan.
    assert {CHIP_BY_MODEL[model].split()[1] for model in FANLESS_MACS & set(CHIP_BY_MODEL)} == {
        "M1",
        "M2",
        "M3",
        "M4",
        "M5",
        "A18",
    }


@pytest.mark.parametrize(
    ("name", "apple_silicon", "fanless"),
    [
        ("MacBook Air", True, True),
        ("MacBook Air", False, False),
        ("MacBook Air", None, None),
        ("MacBook Neo", None, True),
        ("Mac Studio", None, False),
        ("MacBook", None, None),
    ],
)
def test_fans_by_name(name, apple_silicon, fanless):
    assert is_fanless_by_name(name, apple_silicon=apple_silicon) is fanless


@pytest.mark.parametrize(
    ("model", "fanless"),
    [
        ("MacBookAir10,1", True),
        ("Mac14,2", True),
        ("Mac17,5", True),
        ("Mac14,7", False),
        ("Mac13,2", False),
        ("MacBookPro18,3", False),
        ("Macmini9,1", False),
        ("Mac18,1", None),
        ("VirtualMac2,1", None),
        ("ThinkPad", None),
    ],
)
def test_fans_by_model(model, fanless):
    assert is_fanless(model) is fanless


@pytest.mark.parametrize(
    ("soc", "cores", "name"),
    [
        ("t6001", 10, "Apple M1 Max"),
        ("t6001", 20, "Apple M1 Ultra"),
        ("t6021", 24, "Apple M2 Ultra"),
        ("t8103", 4, "Apple M1"),
        ("t8103", 20, None),
        ("t9999", 8, None),
    ],
)
def test_twice_the_cores_of_a_max_are_an_ultra(soc, cores, name):
    assert name_of_parts(soc, cores) == name


def test_memory_that_linux_keeps_to_itself_does_not_change_the_bin():
    assert lookup("Apple M6", memory_bytes=int(31.1 * GIB)).bandwidth_gbs == 170
    assert lookup("Apple M4 Max", memory_bytes=int(34.9 * GIB)).gpu_cores == 32
