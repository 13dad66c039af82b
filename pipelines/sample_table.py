"""The scores of samples as people read them: one row an arm, one column a figure."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..hub.command_line import table_console
from .sample_distances import NO_SETS
from .sample_input import SAMPLES


def print_samples(document: dict[str, Any]) -> None:
    """Prints what `evaluate_samples` returns, on standard output."""
    console, arms = table_console(), list(document["recognised"])
    columns = _columns(document)
    table = Table("pictures", *columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for arm in arms:
        table.add_row(arm, *(values[arm] for values in columns.values()))
    console.print(table)
    for line in _lines(document):
        console.print(line, markup=False, highlight=False)


def _columns(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    """By heading, a cell for every arm."""
    arms = list(document["recognised"])
    columns: dict[str, dict[str, str]] = {}
    if "cas" in document:
        columns["CAS"] = {arm: f"{document['cas'][arm]['accuracy']['value']:.4f}" for arm in arms}
    columns["recognised"] = {arm: f"{document['recognised'][arm]:.3f}" for arm in arms}
    if "fd" in document:
        columns["FD\nper class"] = {arm: f"{document['fd'][arm]['per_class']:.3f}" for arm in arms}
        columns["FD\nglobal"] = {arm: f"{document['fd'][arm]['global']:.3f}" for arm in arms}
    if "precision_recall" in document:
        found = document["precision_recall"]
        columns["precision"] = {arm: f"{found[arm]['precision']:.3f}" for arm in arms}
        columns["recall"] = {arm: f"{found[arm]['recall']:.3f}" for arm in arms}
    return columns


def _lines(document: dict[str, Any]) -> list[str]:
    protocol = document["protocol"]
    counts = ", ".join(f"{count} {arm}" for arm, count in protocol["num_images_of"].items())
    lines = [f"{counts}; tested on {protocol['num_measured']} real ones ({protocol['split']})"]
    if "cas" in document:
        low, high = document["cas"][SAMPLES]["accuracy"]["interval"]
        shares = [
            f"{value:.3f} of {name.removeprefix('share_of_')} pictures'"
            for name, value in document["cas"].items()
            if name.startswith("share_of_") and value is not None
        ]
        lines.append(f"CAS of samples {low:.4f} to {high:.4f} (95 %), " + ", ".join(shares))
    if "memorisation" in document:
        for space, found in document["memorisation"].items():
            lines.append(f"to the nearest training picture of its class, {space}: " + _distances(found))
    if document["seconds"]:
        seconds, count = document["seconds"]["seconds"], document["seconds"]["num_images"]
        lines.append(f"{count} pictures drawn in {seconds:.0f} s, {1000 * seconds / count:.1f} ms each")
    return lines


def _distances(found: dict[str, Any]) -> str:
    parts = [
        f"{name} {values['percentile_1']:.3g} / {values['median']:.3g}"
        for name, values in found.items()
        if name not in NO_SETS
    ]
    for name, ratio in found["ratio"].items():
        shares = [f"{ratio[which]:.3f}" if ratio[which] is not None else "-" for which in ("percentile_1", "median")]
        parts.append(f"of {name} {' / '.join(shares)}, {_suspects(found, name)}")
    return f"percentile 1 / median {', '.join(parts)}"


def _suspects(found: dict[str, Any], name: str) -> str:
    expected = f"{found['suspect_expected'][name]:.4f} without copies"
    return f"nearer than .999 of them {found['suspect'][name]:.4f} ({expected})"
