"""A prediction as `impetus predict` shows it."""

from __future__ import annotations

import msgspec

from ...hw.profile import CapabilityProfile
from ..formats.header import Format, Header
from ..models.model import Speed
from .predict import predict
from .predict_score import base_score


class PredictionReport(msgspec.Struct, frozen=True):
    """What `impetus predict --json` prints; null is unknown."""

    model: str
    format: Format
    quantization: str | None
    parameters: int | None
    active_parameters: int | None
    """What one token takes."""
    size_bytes: int
    engine: str
    context: int
    decode: Speed | None
    """With the context before it."""
    prefill: Speed | None
    """Of a prompt as long as the context."""
    memory_bytes: int
    budget_bytes: int | None
    """What models may take together here."""
    fits: bool | None
    longest_context: int | None
    load_s: tuple[float, float] | None
    """At least and at most, where the files are not in memory."""
    base_performance_score: float | None
    """A number to compare machines and quantisations by; it says nothing of tokens per second."""
    notes: list[str]

    def rows(self) -> list[tuple[str, str]]:
        """Shows it as a table's rows."""
        load = "?" if self.load_s is None else f"{self.load_s[0]:.1f} to {self.load_s[1]:.1f} s"
        fits = {True: "fits", False: "does not fit", None: "the memory is unknown"}[self.fits]
        budget = "" if self.budget_bytes is None else f" of {self.budget_bytes / 1e9:.1f} GB for models"
        score = "?" if self.base_performance_score is None else f"{self.base_performance_score:.2f}"
        return [
            ("model", f"{self.model} ({self.quantization or self.format}, {self.size_bytes / 1e9:.1f} GB, by {self.engine})"),
            (f"writes, after {self.context:,} tokens", show_range(self.decode)),
            (f"reads, a prompt of {self.context:,} tokens", show_range(self.prefill)),
            ("memory", f"{self.memory_bytes / 1e9:.1f} GB{budget}: {fits}"),
            ("longest context", "?" if self.longest_context is None else f"{self.longest_context:,} tokens"),
            ("load", load),
            ("base performance score", f"{score}, relative"),
            *(("note", note) for note in self.notes),
        ]


def to_prediction_report(
    name: str,
    profile: CapabilityProfile | None,
    header: Header,
    context: int,
    engine: str,
    *,
    headroom: float = 1.0,
    models_percent: float = 0.0,
) -> PredictionReport:
    """Predicts and puts everything together; arguments as of `predict`."""
    prediction = predict(profile, header, context, engine_name=engine, headroom=headroom, models_percent=models_percent)
    notes = list(prediction.reasons)
    if headroom < 1:
        notes.append(f"heat or low-power mode leaves about {headroom:.0%} of the speed now")
    return PredictionReport(
        model=name,
        format=header.format,
        quantization=header.quantization,
        parameters=header.parameters,
        active_parameters=None if header.active is None else header.active.parameters,
        size_bytes=header.size_bytes,
        engine=engine,
        context=context,
        decode=prediction.decode,
        prefill=prediction.prefill,
        memory_bytes=prediction.memory_bytes,
        budget_bytes=prediction.budget_bytes,
        fits=prediction.fits,
        longest_context=prediction.longest_context,
        load_s=prediction.load_s,
        base_performance_score=base_score(profile, header.quantization, headroom),
        notes=notes,
    )


def show_range(speed: Speed | None) -> str:
    """Shows a speed; a prediction as a range, never as one number."""
    if speed is None:
        return "?"
    if speed.source == "measured":
        return f"{speed.tps:.1f} tok/s, measured"
    return f"{speed.low_tps:.1f} to {speed.high_tps:.1f} tok/s"
