from __future__ import annotations

import pytest
from mac_profiles import M1_MAX, M4

from impetus.hw.profile import CapabilityProfile
from impetus.runtime.models.recommended import read_list
from impetus.runtime.tuning.predict import predict
from impetus.runtime.tuning.predict_score import base_score
from impetus.runtime.tuning.recommend import recommend, to_profile
from impetus.runtime.tuning.suiting import LEAST_CONTEXT, LEAST_TPS

PUBLISHED_B = {
    "Qwen3-235B-A22B-Instruct-2507": 235, "gpt-oss-120b": 117, "GLM-4.5-Air": 106, "Llama-3.3-70B-Instruct": 70.6,
    "Qwen3-8B": 8.2, "gemma-3-27b-it": 27.0, "Qwen3-4B-Instruct-2507": 4.0, "phi-4": 14.7, "Qwen3.6-35B-A3B": 35,
}  # fmt: skip


def test_the_shipped_list_is_whole_and_its_weights_are_as_many_as_published():
    listed = read_list()
    assert len(listed.models) >= 30
    assert len({model.name for model in listed.models}) == len(listed.models)
    for model in listed.models:
        counted = model.count()
        assert 0 < counted.active_parameters <= counted.parameters
        assert all(model.header(each, listed.bits).size_bytes > 0 for each in model.quantizations)
        if model.name in PUBLISHED_B:
            assert counted.parameters / 1e9 == pytest.approx(PUBLISHED_B[model.name], rel=0.02)


@pytest.mark.parametrize("task", ["chat", "code", "embed", None])
@pytest.mark.parametrize(("chip", "gib"), [("Apple M1", 8), ("Apple M4", 16), ("Apple M2 Max", 64), ("Apple M3 Ultra", 512)])
def test_what_is_recommended_fits_and_is_fast_enough(task, chip, gib):
    profile, listed = to_profile(chip, gib), read_list()
    found = recommend(profile, task)
    assert found.models
    for each in found.models:
        model = next(model for model in listed.models if model.name == each.model)
        assert task is None or task in model.tasks
        prediction = predict(profile, model.header(each.quantization, listed.bits), min(LEAST_CONTEXT, model.context))
        assert prediction.fits
        assert each.longest_context >= min(LEAST_CONTEXT, model.context)
        assert each.decode is None or each.decode.tps >= LEAST_TPS
        assert (each.decode is None) == ("embed" in model.tasks)


def test_a_larger_machine_gets_better_models_and_needs_no_upgrade():
    order = [model.name for model in read_list().models]
    firsts = [recommend(to_profile(chip, gib), "code").models[0].model for chip, gib in [("Apple M1", 8), ("Apple M4 Max", 64)]]
    assert order.index(firsts[1]) < order.index(firsts[0])
    assert recommend(to_profile("Apple M3 Ultra", 512), "chat").upgrades == []


def test_an_upgrade_is_faster_or_holds_more():
    found = recommend(M4, "chat")
    assert 1 <= len(found.upgrades) <= 3
    assert all(upgrade.faster is None or upgrade.faster >= 1 for upgrade in found.upgrades)
    best = found.upgrades[-1]
    assert best.machine in best.words
    assert f"{best.faster:.1f} times as fast" in best.words
    assert best.faster > 2


def test_a_machine_without_predictions_gets_models_that_a_processor_can_write_with():
    found = recommend(CapabilityProfile(host="h", system="Linux 6.1", architecture="x86_64", memory_bytes=M4.memory_bytes))
    assert found.models
    assert all(model.decode is None for model in found.models)
    assert "Qwen3-8B" not in {model.model for model in found.models}
    assert recommend(None).models == []
    assert recommend(None).notes == ["this machine has not been looked at yet"]


def test_embeddings_are_not_said_to_lack_what_a_speed_follows_from():
    assert recommend(M4, "embed").notes == ["speeds are predicted only for models that write text"]


def test_the_base_score_orders_machines_and_quantisations():
    assert base_score(M4, "Q4_K_M") == 1.0
    assert base_score(M1_MAX, "Q4_K_M") == 2.5
    assert base_score(M4, "Q8_0") == pytest.approx(0.7)
    assert base_score(M4, "BF16", headroom=0.5) == pytest.approx(0.25)
    assert base_score(M4, "4-bit") == base_score(M4, None) == base_score(M4, "MXFP4") == 1.0
    assert base_score(M4, "Q6_K") == pytest.approx(0.85)
    assert base_score(None, "Q4_0") is None
