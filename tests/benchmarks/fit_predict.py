"""Finds the constants of the prediction again, and says how large its errors are on what was left out of the fit.

    .venv/bin/python tests/benchmarks/fit_predict.py ROWS.json [--hold 0.2]

ROWS.json is what predict_published.py takes; without it the few rows of the tests are. Logarithms of constants are fitted
to logarithms of times by a robust least-squares fit that begins at the constants in the package and holds them there with
this weight; with a low one the least of what is left out leaks in by it. Errors in percent, median / 90th percentile: of
all rows, then with each chip, model and source left out in turn.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

from published_rows import Published, read_row

from impetus.runtime.tuning.predict_speed import (
    DECODE,
    PREFILL,
    DecodeConstants,
    PrefillConstants,
    decode_ms,
    prefill_ms,
)

Constants = TypeVar("Constants", DecodeConstants, PrefillConstants)
OWN_ROWS = Path(__file__).parent.parent / "fixtures" / "published_speeds.json"
ROBUST = 0.05
"""Errors (of logarithms) above this count by their size, not by their square."""
ROUNDS = 25
STEP = 1e-4


def main() -> int:
    """Fits and reports both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, nargs="?", default=OWN_ROWS)
    parser.add_argument("--hold", type=float, default=0.2)
    options = parser.parse_args()
    document = json.loads(options.rows.read_text())
    rows = document["rows"] if isinstance(document, dict) else document
    read = [(row, published) for row in rows if isinstance(row, dict) and (published := read_row(row)) is not None]
    decode = [(row, published) for row, published in read if published.decode_tps]
    prefill = [(row, published) for row, published in read if published.prefill_tps]
    _report("decode", decode, DECODE, _decode_ratio, options.hold)
    _report("prefill", prefill, PREFILL, _prefill_ratio, options.hold)
    return 0


def _decode_ratio(row: Published, constants: DecodeConstants) -> float:
    """Predicted time over published time."""
    return decode_ms(row.machine, row.work, row.context, constants) * (row.decode_tps or 0) / 1000


def _prefill_ratio(row: Published, constants: PrefillConstants) -> float:
    time_ms = prefill_ms(row.machine, row.work, row.prompt_tokens, constants)
    return time_ms * (row.prefill_tps or 0) / 1000 / row.prompt_tokens


def _report(
    what: str,
    rows: Sequence[tuple[dict, Published]],
    start: Constants,
    ratio: Callable[[Published, Constants], float],
    hold: float,
) -> None:
    best = _fit([row for _, row in rows], start, ratio, hold)
    print(f"{what}: {len(rows)} rows, as shipped {_summary([ratio(row, start) for _, row in rows])}", end="")
    print(f", fitted {_summary([ratio(row, best) for _, row in rows])}")
    for key in ("chip", "model", "set"):
        ratios: list[float] = []
        for group in sorted({str(row.get(key)) for row, _ in rows}):
            known = [published for row, published in rows if str(row.get(key)) != group]
            constants = _fit(known, start, ratio, hold)
            ratios += [ratio(published, constants) for row, published in rows if str(row.get(key)) == group]
        print(f"  without the row's own {key:6} {_summary(ratios)}", flush=True)
    for field in fields(best):
        print(f"  {field.name} = {_rounded(getattr(best, field.name))}")


def _fit(rows: Sequence[Published], start: Constants, ratio: Callable[[Published, Constants], float], hold: float) -> Constants:
    """Gauss-Newton on the constants' logarithms, with Huber's weights and a pull to where it began."""
    theta = origin = np.log(_flatten(start))
    for _ in range(ROUNDS):

        def residuals(at: np.ndarray) -> np.ndarray:
            constants = _unflatten(start, np.exp(at))
            return np.log([ratio(row, constants) for row in rows])

        error = residuals(theta)
        slope = np.stack([(residuals(theta + STEP * unit) - error) / STEP for unit in np.eye(len(theta))], axis=1)
        weight = 1 / np.maximum(1, np.abs(error) / ROBUST)
        curvature = (slope * weight[:, None]).T @ slope + hold * np.eye(len(theta))
        gradient = (slope * weight[:, None]).T @ error + hold * (theta - origin)
        step = np.linalg.solve(curvature, gradient)
        theta = theta - np.clip(step, -0.4, 0.4)
        if np.max(np.abs(step)) < STEP:
            break
    return _unflatten(start, np.exp(theta))


def _flatten(constants: Constants) -> np.ndarray:
    return np.concatenate([np.atleast_1d(getattr(constants, field.name)) for field in fields(constants)])


def _unflatten(like: Constants, values: np.ndarray) -> Constants:
    left = list(values)
    given: dict[str, object] = {}
    for field in fields(like):
        old = getattr(like, field.name)
        given[field.name] = tuple(left.pop(0) for _ in old) if isinstance(old, tuple) else left.pop(0)
    return replace(like, **given)


def _summary(ratios: Sequence[float]) -> str:
    errors = np.abs(1 / np.array(ratios) - 1) * 100
    return f"{np.median(errors):.1f} / {np.percentile(errors, 90):.1f} %"


def _rounded(value: float | tuple[float, ...]) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(f"{each:.3g}" for each in value) + ")"
    return f"{value:.3g}"


if __name__ == "__main__":
    raise SystemExit(main())
