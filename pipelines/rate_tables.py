"""The scores of a prior as people read them: what the evaluations return, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..hub.command_line import print_result, table_console

_TITLES = {
    "rate": "{split}",
    "train": "{train_split}, equally many",
    "gap": "{split} - {train_split}, unpaired",
    "other": "{split}, by {against}",
    "difference": "{split}, {model} - {against}, paired",
}
_CONDITIONS = {  # of a report: given the other, alone, told by the other
    "codes": ("codes_given_caption", "codes", "told_by_caption"),
    "caption": ("caption_given_codes", "caption", "told_by_codes"),
}
_MOST_CLASSES = 20
"""More make no table that anybody could read."""


def print_rates(document: dict[str, Any]) -> None:
    """Prints what `evaluate_prior` returns, on standard output: one table per report, then the rest."""
    console, protocol = table_console(), document["protocol"]
    for name, title in _TITLES.items():
        if name in document:
            console.print(title.format(**protocol), markup=False, highlight=False)
            console.print(_rate_table(document[name], protocol["grids"].split()))
    for line in _rate_lines(document):
        console.print(line, markup=False, highlight=False)


def print_classes(document: dict[str, Any]) -> None:
    """Prints what `evaluate_classes` returns, on standard output: the confusions of few classes, and a few lines."""
    console, protocol, classes = table_console(), document["protocol"], document["classes"]
    if len(classes) <= _MOST_CLASSES:
        numbers = [str(number) for number in range(len(classes))]
        table = Table("true \\ predicted", *numbers, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for number, row in enumerate(document["confusion"]):
            table.add_row(Text(f"{number} {classes[number]}"), *map(str, row))
        console.print(table)
    accuracy, spent = document["accuracy"], document["cross_entropy"]
    low, high = accuracy["interval"]
    lines = [
        f"{document['num_images']} pictures ({protocol['split']}), {len(classes)} classes ({protocol['column']}), "
        f'method "{protocol["method"]}", prior "{protocol["prior"]}"',
        f"accuracy {accuracy['value']:.1%} ({low:.1%} to {high:.1%})",
        f"cross-entropy {_spell(spent, 3)} bits a picture, of {document['class_entropy']:.3f} without it",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False)


def print_captions(document: dict[str, Any]) -> None:
    """Prints what `evaluate_captions` returns, on standard output: a few captions beside the true ones, and figures."""
    console = table_console()
    table = Table("true", "written", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for example in document["examples"]:
        table.add_row(Text(example["true"]), Text(example["written"]))
    console.print(table)
    match, rate = document["exact_match"], document["caption_given_codes"]
    low, high = match["interval"]
    lines = [
        f"{match['value']:.1%} ({low:.1%} to {high:.1%}) of {document['num_images']} captions are exactly right",
        f"the true ones take {_spell(rate['per_caption'], 2)} bits, {_spell(rate['per_byte'], 3)} a byte",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False)


def print_names(document: dict[str, Any]) -> None:
    """Prints what `evaluate_names` returns, on standard output: figures, and a table of the groups where it has any."""
    print_result({name: value for name, value in document.items() if name != "groups"}, json_output=False)
    if "groups" not in document:
        return
    table = Table("group", "name accuracy", "captions", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, found in document["groups"].items():
        table.add_row(Text(name), f"{found['name_accuracy']:.1%}", str(found["num_captions"]))
    table_console().print(table)


def _rate_table(report: dict[str, Any], grids: list[str]) -> Table:
    columns = ("bits", "given the other", "alone", "told by the other")
    table = Table(*columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for label, modality, figure, decimals in _rows(grids):
        parts = [report[condition] for condition in _CONDITIONS[modality]]
        table.add_row(label, *(_spell(_at(part, figure), decimals) for part in parts))
    return table


def _rows(grids: list[str]) -> Iterator[tuple[str, str, tuple[str | int, ...], int]]:
    """(label, modality, path of the figure in a condition, decimals) of every row of a table."""
    yield "picture", "codes", ("per_image",), 2
    for level, grid in enumerate(grids):
        yield f"  level {level}, {grid}", "codes", ("per_level", level), 2
    for level, grid in enumerate(grids):
        if grid != "1x1":
            yield f"  a code of level {level}", "codes", ("per_code", level), 3
    yield "  a pixel channel", "codes", ("per_pixel_channel",), 4
    yield "caption", "caption", ("per_caption",), 2
    yield "  a byte", "caption", ("per_byte",), 3


def _at(part: Any, path: tuple[str | int, ...]) -> dict[str, Any]:
    for name in path:
        part = part[name]
    return part


def _spell(estimate: dict[str, Any], decimals: int) -> str:
    if estimate["value"] is None:
        return "-"
    if estimate["interval"] is None:
        return f"{estimate['value']:.{decimals}f}"
    low, high = estimate["interval"]
    return f"{estimate['value']:.{decimals}f} ± {(high - low) / 2:.{decimals}f}"


def _rate_lines(document: dict[str, Any]) -> list[str]:
    protocol = document["protocol"]
    lines = [
        f"{document['num_images']} pictures, {protocol['size']}, {document['num_captions']} with words; "
        "± is the 95 % interval over pictures"
    ]
    if document["num_too_long"]:
        lines.append(f"{document['num_too_long']} captions are too long for the prior's context and are left out")
    for name, words in {"illegal": "on illegal ids", "layout": "for its layout"}.items():
        figures = document["rate"][name]
        kinds = ", ".join(f"{kind.replace('_', ' ')} {_spell(value, 2)}" for kind, value in figures.items())
        lines.append(f"bits of a document {words}: {kinds}")
    return lines
