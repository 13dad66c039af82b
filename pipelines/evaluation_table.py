"""The score of an image tokenizer as people read it: a table of levels and a few lines."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..hub.command_line import table_console

_PREFIX_COLUMNS = {  # heading: (name in the document, format)
    "PSNR dB": ("psnr", "{:.2f}"),
    "mean PSNR dB": ("mean_psnr", "{:.2f}"),
    "SSIM": ("ssim", "{:.4f}"),
}
_LEVEL_COLUMNS = {
    "usage": ("usage", "{:.1%}"),
    "perplexity": ("perplexity", "{:.1f}"),
    "static\nbits": ("static_bits", "{:.1f}"),
    "by\nposition": ("position_bits", "{:.1f}"),
    "held-out\nbits": ("reference_bits", "{:.1f}"),
    "held-out by\nposition": ("reference_position_bits", "{:.1f}"),
}


def print_evaluation(document: dict[str, Any]) -> None:
    """Prints what `evaluate_image_tokenizer` returns, on standard output: decoding first, then codes, then the rest."""
    console = table_console()
    grids = document["protocol"]["grids"].split()
    sizes = document["protocol"]["codebook_sizes"].split()
    prefixes = ["+".join(grids[:count]) for count in range(1, len(grids) + 1)]
    console.print(_table({"decoded from": prefixes}, _PREFIX_COLUMNS, document))
    console.print(_table({"grid": grids, "codes": sizes}, _LEVEL_COLUMNS, document))
    for line in _lines(document):
        console.print(line, markup=False, highlight=False)


def _table(first: dict[str, list[str]], columns: dict[str, tuple[str, str]], document: dict[str, Any]) -> Table:
    """One row a level: its names, and those of the figures that were measured."""
    measured = {title: entry for title, entry in columns.items() if document[entry[0]] is not None}
    table = Table(*first, *measured, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for level, names in enumerate(zip(*first.values(), strict=True)):
        table.add_row(*names, *(_cell(document[name][level], pattern) for name, pattern in measured.values()))
    return table


def _cell(value: float | None, pattern: str) -> str:
    return "-" if value is None else pattern.format(value)


def _lines(document: dict[str, Any]) -> list[str]:
    protocol, seconds = document["protocol"], document["seconds_per_image"]
    lines = [
        f"{document['num_images']} pictures ({protocol['split']}), {protocol['size']}, {protocol['preprocessing']}",
        f"{document['codes_per_image']} codes, {document['bits_per_image_raw']:.1f} bits raw a picture",
    ]
    lines += _class_line(document["classes"]) + _frechet_line(document["frechet"])
    decode = "" if seconds["decode"] is None else f", decode {1000 * seconds['decode']:.2f} ms"
    how = f"batches of {seconds['batch_size']}, {seconds['threads']} threads, {seconds['device']}"
    lines.append(f"encode {1000 * seconds['encode']:.2f} ms{decode} a picture ({how})")
    if document["failures"]:
        lines.append(f"{len(document['failures'])} pictures could not be read, the first: {document['failures'][0]}")
    return lines


def _class_line(classes: dict[str, Any] | None) -> list[str]:
    if classes is None:
        return []
    vote = "" if classes["majority_vote"] is None else f"majority vote {classes['majority_vote']:.1%}, "
    bits = f"{classes['mutual_information']:.2f} of {classes['class_entropy']:.2f} bits"
    return [f"classes in the whole-image code: {vote}NMI {classes['nmi']:.3f}, {bits}"]


def _frechet_line(frechet: dict[str, Any] | None) -> list[str]:
    if frechet is None:
        return []
    sets = f"{frechet['evaluated_count']} decoded from {frechet['reference_count']} of {frechet['reference_split']}"
    space = f"in {frechet['features']} features of length {frechet['feature_dimension']}"
    return [f"Fréchet distance {frechet['distance']:.4g} (floor {frechet['floor']:.4g}), {sets}, {space}"]
