"""Holds the prediction of tokens per second to published speeds.

    .venv/bin/python tests/benchmarks/predict_published.py ROWS.json [--json] [--worst 20]

ROWS.json is `{"rows": [...]}` or a list; each row has chip, gpu (cores), bw (GB/s), engine, model, quant, active_b (1e9
parameters that a token takes), layers, read_bytes (of weights a token), kv_per_tok (bytes), ctx (mean tokens of context),
pp_n (tokens of prompt) and what was published: tg and pp (tokens per second). What is missing is derived where that is
possible; else the prediction is null. Without a file, the few rows of the tests are taken. Errors are |predicted /
published - 1| in percent.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "fixtures"
OWN_ROWS = FIXTURES / "published_speeds.json"
sys.path.insert(0, str(FIXTURES))

from published_rows import read_row  # noqa: E402

from impetus.runtime.tuning.predict_speed import decode_ms, prefill_ms  # noqa: E402


def main() -> int:
    """Predicts every row and prints the errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, nargs="?", default=OWN_ROWS)
    parser.add_argument("--json", action="store_true", help="each row with its prediction, and the errors")
    parser.add_argument("--worst", type=int, default=10, help="how many of the worst rows are listed")
    options = parser.parse_args()
    document = json.loads(options.rows.read_text())
    rows = document.get("rows") if isinstance(document, dict) else document
    report = predict_rows([row if isinstance(row, dict) else {} for row in (rows if isinstance(rows, list) else [])])
    if options.json:
        print(json.dumps(report, indent=1))
        return 0
    for what, published in (("decode", "tg"), ("prefill", "pp")):
        print(f"{what:8} {_sentence(report[what])}")
        for error, row in sorted(_errors(report["rows"], what, published), key=lambda pair: -abs(pair[0]))[: options.worst]:
            named = " ".join(str(row.get(key)) for key in ("set", "chip", "gpu", "engine", "model", "quant", "ctx"))
            print(f"  {error:+6.1f} %  {row[what]:8.1f} for {row[published]:8.1f}  {named}")
    return 0


def predict_rows(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Gives each row with `decode` and `prefill` (tokens per second, or None) added, and the errors of both in percent."""
    predicted = [_predict(row) for row in rows]
    return {
        "rows": predicted,
        "unit": "percent",
        "decode": _statistics([abs(error) for error, _ in _errors(predicted, "decode", "tg")]),
        "prefill": _statistics([abs(error) for error, _ in _errors(predicted, "prefill", "pp")]),
    }


def _predict(row: Mapping[str, object]) -> dict[str, object]:
    published = read_row(row)
    if published is None:
        return {**row, "decode": None, "prefill": None}
    decode = 1000 / decode_ms(published.machine, published.work, published.context)
    prefill = 1000 * published.prompt_tokens / prefill_ms(published.machine, published.work, published.prompt_tokens)
    return {**row, "decode": round(decode, 3), "prefill": round(prefill, 3)}


def _errors(rows: Sequence[Mapping[str, object]], what: str, published: str) -> list[tuple[float, Mapping[str, object]]]:
    """Signed errors in percent, of the rows that have both figures."""
    found = []
    for row in rows:
        mine, theirs = row.get(what), row.get(published)
        if isinstance(mine, (int, float)) and isinstance(theirs, (int, float)) and not isinstance(theirs, bool) and theirs > 0:
            found.append(((mine / theirs - 1) * 100, row))
    return found


def _statistics(errors: Sequence[float]) -> dict[str, float | int | None]:
    if not errors:
        return {"rows": 0, "median": None, "p90": None, "max": None}
    p90 = statistics.quantiles(errors, n=10, method="inclusive")[-1] if len(errors) > 1 else errors[0]
    return {
        "rows": len(errors),
        "median": round(statistics.median(errors), 2),
        "p90": round(p90, 2),
        "max": round(max(errors), 2),
    }


def _sentence(errors: Mapping[str, object]) -> str:
    return f"{errors['rows']} rows, median error {errors['median']} %, p90 {errors['p90']} %, largest {errors['max']} %"


if __name__ == "__main__":
    raise SystemExit(main())
