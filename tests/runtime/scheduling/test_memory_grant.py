from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from impetus.hw.profile import CapabilityProfile, Reading
from impetus.runtime.formats.header import Header
from impetus.runtime.frames import LoadOptions
from impetus.runtime.scheduling.decisions import Decisions
from impetus.runtime.scheduling.governor import Governor
from impetus.runtime.scheduling.memory_grant import Holding, MemoryNow, judge_load, measure_room
from impetus.runtime.tuning.memory_budget import divide_memory, largest_tensor

GIB = 1024**3


def machine(memory_gib: float, working_set_gib: float | None = None, *, estimated: bool = False) -> CapabilityProfile:
    working_set = None if working_set_gib is None else Reading(int(working_set_gib * GIB), "test", estimated)
    return CapabilityProfile("h", "s", "a", memory_bytes=Reading(int(memory_gib * GIB), "test"), working_set_bytes=working_set)


def shares(profile: CapabilityProfile) -> tuple[float, float, float]:
    budget = divide_memory(profile)
    assert budget is not None
    return tuple(round(part / GIB, 1) for part in (budget.base_bytes, budget.models_bytes, budget.system_bytes))


def test_without_a_measured_limit_the_shares_are_the_usual_ones() -> None:
    assert shares(machine(16)) == (1.6, 9.6, 4.8)
    assert shares(machine(16, 11.2, estimated=True)) == (1.6, 9.6, 4.8)
    assert divide_memory(None) is None


def test_a_measured_limit_of_the_gpu_moves_the_share_of_the_models_either_way() -> None:
    assert shares(machine(16, 11.8)) == (1.6, 9.6, 4.8)
    assert shares(machine(16, 8)) == (1.6, 8.0, 4.8)
    assert shares(machine(128, 107)) == (12.8, 99.2, 16.0)
    assert shares(machine(512, 464)) == (51.2, 444.8, 16.0)


def test_no_single_tensor_may_be_larger_than_the_gpu_takes() -> None:
    header = Header("gguf", 5 * GIB, parameters=5 * GIB, vocabulary_size=1 << 20, embedding_length=4096, layers=32)
    options = LoadOptions(context_length=8192)
    assert largest_tensor(header, options) == 4 * GIB
    mac = replace(machine(16, 5), gpu_cores=Reading(8, "test"))
    for profile, limit in ((mac, "3.8 GiB"), (replace(mac, max_buffer_bytes=Reading(3 * GIB, "test")), "3.0 GiB")):
        budget = divide_memory(profile)
        governor = Governor(
            read_memory=lambda: MemoryNow(None, None), decisions=Decisions(), budget=lambda budget=budget: budget
        )
        why = governor.refuse_tensor(header, options)
        assert why is not None
        assert f"takes 4.0 GiB, and the GPU takes no single one above {limit}" in why
    governor = Governor(
        read_memory=lambda: MemoryNow(None, None), decisions=Decisions(), budget=lambda: divide_memory(machine(16))
    )
    assert governor.refuse_tensor(header, options) is None


def test_the_settings_can_name_the_share() -> None:
    budget = divide_memory(machine(16, 11.8), models_percent=40)
    assert budget is not None
    assert (round(budget.models_bytes / GIB, 1), budget.why) == (6.4, "40% of the memory, as the settings say")


def holding(
    name: str, gib: float, used_s: float = 0, *, idle: bool = True, pinned: bool = False, leaving: bool = False
) -> Holding:
    return Holding(name, int(gib * GIB), idle, pinned, leaving, used_s)


def judge(needed_gib: float, *held: Holding, available_gib: float = 14, others_gib: float = 2, **more: bool) -> tuple[str, str]:
    budget = divide_memory(machine(16))
    own = sum(one.granted_bytes for one in held)
    now = MemoryNow(16 * GIB, int(available_gib * GIB) - own, int(others_gib * GIB) + own, own)
    verdict = judge_load(int(needed_gib * GIB), measure_room(now, budget, held, "normal"), held, **more)
    return verdict.answer, verdict.evict or verdict.text


def test_what_fits_is_granted_with_its_arithmetic() -> None:
    answer, text = judge(4, holding("a", 5))
    assert answer == "grant"
    for figure in ("4.0 GiB", "9.0 GiB are available", "1.6 GiB are left", "may take 9.6 GiB", "hold 5.0 GiB"):
        assert figure in text


def test_the_one_unused_for_longest_goes_first_and_pinned_and_busy_ones_stay() -> None:
    held = [holding("a", 3, 10), holding("b", 3, 5), holding("c", 3, 1, pinned=True)]
    assert judge(4, *held) == ("evict", "b")
    assert judge(0.5, *held, full=True) == ("evict", "b")
    assert judge(4, replace(held[0], idle=False), replace(held[1], idle=False), held[2])[0] == "smaller"
    assert judge(4, replace(held[0], idle=False), held[2], may_shrink=False) == ("busy", "a is busy")
    assert judge(0.1, held[2], full=True)[1] == "c stays in memory, as the settings say"


def test_nobody_is_sent_away_in_vain() -> None:
    assert judge(11, holding("a", 3))[0] == "smaller"
    answer, text = judge(11, holding("a", 3), may_shrink=False)
    assert answer == "refuse"
    assert "Unload another model" in text
    assert "Unpin a" in judge(11, holding("a", 3, pinned=True), may_shrink=False)[1]
    assert "Close other apps" in judge(11, may_shrink=False)[1]


def test_who_is_on_the_way_out_is_waited_for_only_where_memory_is_short() -> None:
    assert judge(5, holding("a", 8, leaving=True))[0] == "wait"
    assert judge(1, holding("a", 8, leaving=True))[0] == "grant"


def test_what_others_use_and_pressure_leave_less_for_models() -> None:
    answer, text = judge(6, others_gib=9, available_gib=7)
    assert answer == "smaller"
    assert "others use 9.0 GiB" in text
    now = MemoryNow(16 * GIB, 8 * GIB)
    rooms = [measure_room(now, None, (), state) for state in ("normal", "warn", "critical")]
    assert [round(room.room_bytes / GIB, 1) for room in rooms if room is not None] == [6.4, 4.8, 3.2]


def test_where_memory_is_unknown_nothing_is_refused() -> None:
    assert measure_room(MemoryNow(None, None), None, (), "normal") is None
    assert judge_load(10**15, None, ()).answer == "grant"


HELD = st.lists(
    st.builds(
        Holding,
        model=st.text("abcdef", min_size=1, max_size=2),
        granted_bytes=st.integers(0, 12 * GIB),
        idle=st.booleans(),
        pinned=st.booleans(),
        leaving=st.booleans(),
        used_s=st.floats(0, 100),
    ),
    max_size=4,
    unique_by=lambda one: one.model,
)


@given(held=HELD, needed=st.integers(0, 20 * GIB), available=st.integers(0, 16 * GIB), full=st.booleans(), shrink=st.booleans())
def test_each_verdict_leads_somewhere(held: list[Holding], needed: int, available: int, full: bool, shrink: bool) -> None:
    room = measure_room(MemoryNow(16 * GIB, available), None, held, "normal")
    assert room is not None
    for _ in range(len(held) + 1):
        verdict = judge_load(needed, room, held, full=full and bool(held), may_shrink=shrink)
        if verdict.answer == "grant":
            assert needed <= room.room_bytes
        if verdict.answer == "smaller":
            assert shrink
        if verdict.answer != "evict":
            break
        gone = next(one for one in held if one.model == verdict.evict)
        assert gone.idle
        assert not gone.pinned
        assert not gone.leaving
        held = [one for one in held if one is not gone]
        full = False
    assert verdict.answer != "evict"
