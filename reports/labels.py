"""Words for the lines of the books, kept the same in tables and figures."""

from __future__ import annotations

CASH = {
    "fcr_capacity": "FCR capacity",
    "afrr_up_capacity": "aFRR capacity, up",
    "afrr_down_capacity": "aFRR capacity, down",
    "day_ahead": "Day-ahead energy",
    "intraday": "Intraday energy",
    "intraday_spread": "Intraday half-spread",
    "activation_up": "aFRR energy, up",
    "activation_down": "aFRR energy, down",
    "imbalance": "Imbalance",
    "import_fee": "Import fees",
    "export_fee": "Export fees",
    "levy": "Levies",
    "capacity_fee": "Capacity fee",
    "undelivered_penalty": "Penalty: not delivered",
    "reserve_shortfall_penalty": "Penalty: reserve short",
    "aging": "Battery aging",
    "aging_beyond": "Aging beyond the model",
    "aging_floor": "Throughput floor",
    "stored_energy_value": "Change of energy in store",
    "profit_tax": "Tax on profit",
    "profit": "Profit",
}
# Which market a line belongs to: it gives the line its colour.
CASH_GROUP = {
    "fcr_capacity": "fcr",
    "afrr_up_capacity": "afrr-up",
    "afrr_down_capacity": "afrr-down",
    "day_ahead": "day-ahead",
    "intraday": "intraday",
    "intraday_spread": "intraday",
    "activation_up": "afrr-up",
    "activation_down": "afrr-down",
    "aging": "aging",
    "aging_beyond": "aging",
    "aging_floor": "aging",
}
# Measure of the worth table -> label, meaning, part of the fact's name.
WORTH = {
    "WS": ("WS", "wait-and-see: each scenario with its future known", "ws"),
    "RP": ("RP", "this decision, under uncertainty", "rp"),
    "EEV": ("EEV", "what the decision for the mean scenario earns", "eev"),
    "EVPI = WS - RP": ("EVPI", "most that perfect information could add", "evpi"),
    "VSS = RP - EEV": ("VSS", "what planning for uncertainty adds", "vss"),
    "gain over reserve-derated deterministic": (
        "over derated",
        "gain over the mean scenario with reserve capped, the cap tuned on these scenarios",
        "gain_over_derated",
    ),
    "gain over full-activation deterministic": (
        "over full calls",
        "gain over the mean scenario with energy held for uninterrupted calls",
        "gain_over_full_activation",
    ),
    "gain over mean planned again at every node": (
        "over rolling mean",
        "gain over planning for the mean of what is left again at every node",
        "gain_over_rolling_mean",
    ),
    "gain over two-stage bids": (
        "over two-stage bids",
        "gain over the bids of the two-stage problem, lived on the tree",
        "gain_over_two_stage_bids",
    ),
}
# Whose decision a gain is over: completes "the opponent decides ...".
OPPONENT = {
    "gain_over_derated": "for the mean scenario with reserve capped, the cap tuned on these "
    "scenarios",
    "gain_over_full_activation": "for the mean scenario with energy held for uninterrupted calls",
    "gain_over_rolling_mean": "for the mean of what is left, again at every node",
    "gain_over_two_stage_bids": "with the whole day in view once it has bid",
}
PROVENANCE = {
    "source": "Scenario source",
    "candidates": "Candidate days",
    "conditioned_on": "Alike in",
    "drawn": "Drawn",
    "forecasts": "Forecasts",
    "gate_utc": "Gate",
    "known_at_gate": "Known at the gate",
    "levels": "Price levels",
    "market_data": "Market data",
    "market_sha256": "Hash of the scenarios’ market data",
    "neighbours": "Neighbours",
    "seed": "Seed of the scenarios",
    "zone": "Zone of the scenarios",
}
