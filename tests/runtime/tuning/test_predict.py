from __future__ import annotations

from dataclasses import replace

import pytest
from mac_profiles import GIB, LLAMA_8B, M1_MAX, M4, mac

from impetus.hw.profile import CapabilityProfile, Reading
from impetus.runtime.tuning.predict import predict
from impetus.runtime.tuning.recommend import recommend


@pytest.mark.parametrize(("profile", "published"), [(M4, 20.87), (M1_MAX, 46.2)])
def test_published_speeds_of_a_header_lie_in_the_range(profile, published):
    decode = predict(profile, LLAMA_8B, 64).decode
    assert decode.low_tps < published < decode.high_tps
    assert decode.tps == pytest.approx(published, rel=0.12)
    assert decode.source == "predicted"


def test_memory_bounds_the_context():
    small, large = predict(M4, LLAMA_8B, 16_384), predict(M1_MAX, LLAMA_8B, 16_384)
    assert small.memory_bytes == large.memory_bytes > LLAMA_8B.size_bytes + 16_384 * 131_072
    assert small.fits
    assert 16_384 <= small.longest_context < large.longest_context == 131_072
    whole = predict(M4, LLAMA_8B, small.longest_context)
    assert whole.fits
    assert not predict(M4, LLAMA_8B, small.longest_context + 256).fits


def test_a_model_that_does_not_fit_at_all_has_no_context():
    large = replace(LLAMA_8B, size_bytes=40 * GIB)
    prediction = predict(M4, large, 4096)
    assert prediction.fits is False
    assert prediction.longest_context == 0


def test_longer_contexts_and_heat_slow_down():
    cool = predict(M4, LLAMA_8B, 1000)
    assert predict(M4, LLAMA_8B, 32_000).decode.tps < cool.decode.tps
    warm = predict(M4, LLAMA_8B, 1000, headroom=0.5)
    assert warm.decode.tps == pytest.approx(cool.decode.tps / 2)
    assert warm.prefill.tps == pytest.approx(cool.prefill.tps / 2)


def test_assumed_facts_widen_the_range_and_are_told():
    unknown = replace(
        mac("Apple M9 Max", 44, 700, 64, "Max", 9), memory_bandwidth_gbs=Reading(700.0, "relative", estimated=True)
    )
    prediction, known = predict(unknown, LLAMA_8B, 64), predict(M1_MAX, LLAMA_8B, 64)
    assert len(prediction.reasons) == 2
    assert prediction.decode.high_tps / prediction.decode.low_tps > known.decode.high_tps / known.decode.low_tps
    assert known.reasons == ()


def test_prompts_on_newer_chips_range_down_to_a_build_without_matrix_units():
    m5 = predict(mac("Apple M5", 10, 153, 24, "Base", 5), LLAMA_8B, 512).prefill
    m4 = predict(M4, LLAMA_8B, 512).prefill
    assert m5.low_tps < m4.tps < m5.tps


def test_a_phone_s_chip_is_taken_for_the_mac_s_of_its_time():
    neo = predict(mac("Apple A18 Pro", 5, 60, 8, "Base"), LLAMA_8B, 64)
    assert predict(M4, LLAMA_8B, 64).decode.tps / 2.2 < neo.decode.tps < predict(M4, LLAMA_8B, 64).decode.tps / 1.8


@pytest.mark.parametrize(
    "profile",
    [
        None,
        CapabilityProfile(host="h", system="Linux 6.1", architecture="x86_64"),
        CapabilityProfile(host="h", system="Linux 6.1", architecture="x86_64", chip=Reading("Intel Xeon", "cpuinfo")),
        replace(M4, memory_bandwidth_gbs=None),
        replace(M4, gpu_cores=None),
    ],
)
def test_what_cannot_be_told_is_none_with_a_reason(profile):
    prediction = predict(profile, LLAMA_8B, 4096)
    assert prediction.decode is None
    assert prediction.prefill is None
    assert prediction.reasons
    assert prediction.memory_bytes > LLAMA_8B.size_bytes


def test_a_header_without_counted_weights_still_has_its_memory():
    prediction = predict(M4, replace(LLAMA_8B, active=None), 4096)
    assert prediction.decode is None
    assert prediction.fits
    assert prediction.load_s[0] < prediction.load_s[1]


def test_what_the_settings_give_to_models_is_the_budget():
    usual, less = predict(M4, LLAMA_8B, 4096), predict(M4, LLAMA_8B, 4096, models_percent=5)
    assert usual.fits
    assert less.fits is False
    assert less.budget_bytes == int(M4.memory_bytes.value * 0.05)
    assert recommend(M4, models_percent=30).models[0].size_bytes < recommend(M4).models[0].size_bytes
