from dataclasses import replace

import pytest

from impetus.hw.profile import CapabilityProfile, CpuLevel, Reading
from impetus.runtime.config import EngineConfig
from impetus.runtime.formats.header import Header
from impetus.runtime.tuning.computing import choose_computing

HEADER = Header("gguf", 1, layers=28)


def machine(*levels: tuple[str, int], gpu_cores: int | None = None) -> CapabilityProfile:
    cores = sum(count for _, count in levels)
    return CapabilityProfile(
        "h",
        "s",
        "a",
        cpu_levels=tuple(CpuLevel(name, count) for name, count in levels),
        usable_cpus=Reading(cores, "test"),
        gpu_cores=None if gpu_cores is None else Reading(gpu_cores, "test"),
    )


@pytest.mark.parametrize(
    ("levels", "threads"),
    [
        ([("Performance", 8), ("Efficiency", 4)], 8),
        ([("Super", 6), ("Performance", 12)], 18),
        ([("Super", 2), ("Performance", 4), ("Efficiency", 6)], 6),
        ([("Standard", 4)], 4),
        ([("Efficiency", 4)], 4),
    ],
)
def test_every_core_computes_but_for_efficiency_cores(levels: list[tuple[str, int]], threads: int) -> None:
    options, _ = choose_computing(HEADER, machine(*levels), EngineConfig())
    assert (options.threads, options.threads_batch) == (threads, threads)


@pytest.mark.parametrize(
    ("gpu_cores", "batch"), [(None, 512), (8, 512), (16, 512), (32, 1024), (40, 1024), (60, 1024), (64, 2048), (80, 2048)]
)
def test_the_batch_follows_from_the_cores_of_the_gpu(gpu_cores: int | None, batch: int) -> None:
    options, choices = choose_computing(HEADER, machine(("Performance", 8), gpu_cores=gpu_cores), EngineConfig())
    assert (options.batch_tokens, options.micro_batch_tokens) == (batch, batch)
    named = {choice.name: choice for choice in choices}
    assert named["GPU layers"].value == (0 if gpu_cores is None else 28)
    assert all(choice.why for choice in choices)


def test_a_mac_whose_gpu_cores_were_not_counted_computes_on_its_gpu_and_a_virtual_one_does_not() -> None:
    mac = replace(machine(("Super", 6), ("Performance", 12)), system="macOS 26.1", generation=Reading(5, "test"))
    options, choices = choose_computing(HEADER, mac, EngineConfig())
    named = {choice.name: choice for choice in choices}
    assert (options.batch_tokens, named["GPU layers"].value) == (512, 28)
    assert "could not be counted" in named["batch"].why
    virtual = replace(mac, virtual_machine=Reading(True, "test"))
    assert {choice.name: choice.value for choice in choose_computing(HEADER, virtual, EngineConfig())[1]}["GPU layers"] == 0


def test_the_settings_win() -> None:
    config = EngineConfig(threads=3, prefill_threads=5, batch_tokens=700, gpu_layers=0)
    options, choices = choose_computing(HEADER, machine(("Performance", 8), gpu_cores=40), config)
    assert (options.threads, options.threads_batch, options.batch_tokens, options.micro_batch_tokens) == (3, 5, 700, 512)
    assert [choice.why for choice in choices if choice.name == "batch"] == [
        "700 tokens of prompts in a step, as the settings say"
    ]


def test_of_an_unknown_machine_the_engine_decides() -> None:
    options, choices = choose_computing(HEADER, None, EngineConfig())
    assert (options.threads, options.batch_tokens) == (None, 512)
    assert "unknown" in choices[0].why
