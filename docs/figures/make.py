"""Make the figure of the README and the facts that its caption quotes.

    python docs/figures/make.py [STORE]

solves the reference day of the embedded market (about a minute; at once if the run is stored) and
writes `decision.svg` and `decision.json` beside this file. The caption printed at the end belongs
into README.md; tests/test_report_figure.py compares the three.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import stochbess as sb
from stochbess.report import material_of
from stochbess.reports.content import gather
from stochbess.reports.figures_decision import decision_picture

HERE = Path(__file__).parent
QUOTED = (
    "expected_profit",
    "profit_bound",
    "gap_percent",
    "scenarios_settled",
    "worth.gain_over_derated.low",
    "worth.gain_over_derated.upp",
    "run_id",
)
CAPTION = (
    "The decision for the synthetic reference day. From top to bottom: day-ahead prices in "
    "{scenarios_settled} scenarios, reserve capacity and day-ahead positions to offer, and the "
    "stored energy that they leave room for. Expected profit {expected_profit}; proven: no "
    "decision earns more than {profit_bound}, a gap of {gap_percent}; its gain over a "
    "deterministic decision with a tuned reserve cap is between {worth.gain_over_derated.low} and "
    "{worth.gain_over_derated.upp}. Run {run_id}; `python docs/figures/make.py` draws it again."
)


def main() -> None:
    """Solve, draw, write, and print the caption."""
    store = [f"report.store_dir={sys.argv[1]}"] if len(sys.argv) > 1 else []
    run = sb.solve(None, formulation="two-stage", overrides=store)
    material = material_of(run.record, run.frames)
    book, _ = gather(material)
    svg = decision_picture(material, "svg")
    caption = CAPTION
    for name in QUOTED:
        caption = caption.replace(f"{{{name}}}", book[name].text)
    about = {"svg_sha256": hashlib.sha256(svg).hexdigest(), "caption": caption}
    facts = [f for f in json.loads(book.to_json({}))["facts"] if f["name"] in QUOTED]
    (HERE / "decision.svg").write_bytes(svg)
    text = json.dumps({**about, "facts": facts}, indent=1, ensure_ascii=False)
    (HERE / "decision.json").write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(f"{caption}\n")


if __name__ == "__main__":
    main()
