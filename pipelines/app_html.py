"""The web app's pictures as HTML: small ones enlarged pixel by pixel, with what belongs to each beside it.

Pictures lie in the text itself, so nothing is left on the server's disk. Elements with `data-pick` are what visitors
can click.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Sequence
from typing import Any

from PIL import Image

from ..tokenizer.pictures import png_bytes
from .app_actions import Described, Drawing
from .app_files import FilePoint, Ladder
from .app_symbols import Place, Swap, Symbol
from .image_completion import ImageCompletionOutput

_TILE = 64
"""Pixels of a symbol on a sheet of many, as shown."""


def escape(value: Any) -> str:
    """Text as HTML, also safe inside attributes and inside the templates of the page's components."""
    return html.escape(str(value)).replace("{", "&#123;").replace("$", "&#36;")


def data_uri(data: bytes, kind: str) -> str:
    """A file as an address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture(image: Image.Image, description: str, kind: str = "") -> str:
    """An enlarged picture."""
    source = data_uri(png_bytes(image), "image/png")
    return f'<img class="pg-picture {kind}" src="{source}" alt="{escape(description)}">'


def figure(image: Image.Image, title: str, lines: Sequence[str] = (), extra: str = "") -> str:
    """A picture with a title and lines of text under it; `extra` is HTML."""
    below = "".join(f"<span>{escape(line)}</span>" for line in lines)
    caption = f"<figcaption><b>{escape(title)}</b>{below}{extra}</figcaption>"
    return f'<figure class="pg-figure">{picture(image, title)}{caption}</figure>'


def row(figures: Sequence[str], kind: str = "") -> str:
    """Figures side by side."""
    return f'<div class="pg-row {kind}">{"".join(figures)}</div>'


def note(text: str) -> str:
    """A sentence in small letters."""
    return f'<p class="pg-note">{escape(text)}</p>'


def save_link(data: bytes, name: str, kind: str, label: str) -> str:
    """A link that saves a file."""
    return f'<a class="pg-save" download="{escape(name)}" href="{data_uri(data, kind)}">{escape(label)}</a>'


def file_name(words: str, number: int | None, ending: str) -> str:
    """A name for a file that is saved.

    Example:
        >>> file_name("Red apple: a/b", 3, "png"), file_name("", None, "picto")
        ('red-apple-a-b-3.png', 'picture.picto')
    """
    stem = re.sub(r"[^\w]+", "-", words.lower()).strip("-")[:40] or "picture"
    return f"{stem}{'' if number is None else f'-{number}'}.{ending}"


def growth(drawing: Drawing, names: Sequence[str], counts: Sequence[int]) -> str:
    """Pictures as large as they have grown, each beside what it was after every level.

    Args:
        drawing: at any stage.
        names: of all levels.
        counts: codes of each level.
    """
    latest = drawing.latest
    cards = [_grown(drawing, index, names, counts) for index in range(len(latest.images))]
    kind = "pg-done" if drawing.is_done else "pg-growing"
    about = "Click a picture to take it along to the other tabs." if drawing.is_done and len(cards) > 1 else ""
    return row(cards, f"pg-cards {kind}") + (note(about) if about else "")


def _grown(drawing: Drawing, index: int, names: Sequence[str], counts: Sequence[int]) -> str:
    latest = drawing.latest
    words, seed, bits = latest.prompts[index], latest.seeds[index], latest.level_bits[index].tolist()
    stages = [_stage(drawing, index, level, names[level], counts[level]) for level in range(len(names))]
    title = f"“{words}”" if words else "anything"
    total = f"{sum(counts[: len(bits)])} codes, {sum(bits):.1f} bits" if drawing.is_done else "drawing …"
    save = ""
    if drawing.is_done:
        save = save_link(latest.png(index), file_name(words, seed, "png"), "image/png", "save")
    return (
        f'<figure class="pg-figure pg-card {"pg-chosen" if index == 0 else ""}" data-pick="{index}" tabindex="0">'
        f'<div class="pg-grown">{picture(latest.images[index], title, "pg-large")}'
        f'<ol class="pg-stages">{"".join(stages)}</ol></div>'
        f"<figcaption><b>{escape(title)}</b><span>seed {seed}</span><span>{total}</span>{save}</figcaption></figure>"
    )


def _stage(drawing: Drawing, index: int, level: int, name: str, count: int) -> str:
    """A level in the column beside a picture; one that is to come is an empty place."""
    bits = drawing.latest.level_bits[index]
    below = f"<span>{escape(name)}</span><span>{count} code{'s' if count > 1 else ''}</span>"
    if level >= len(bits):
        return f'<li class="pg-waiting"><div class="pg-picture"></div>{below}<b>&nbsp;</b></li>'
    # A bundle that cannot show its levels has one stage, the end.
    image = drawing.stages[level].images[index] if level < len(drawing.stages) else None
    shown = picture(image, name) if image else '<div class="pg-picture"></div>'
    return f"<li>{shown}{below}<b>{float(bits[level]):.1f} bits</b></li>"


def sheet(symbols: Sequence[Symbol], chosen: int | None = None, *, tile: int = _TILE) -> str:
    """Many symbols to choose from: one picture holds all of them, and every symbol shows its part of it.

    Args:
        symbols: their pictures are of one size.
        chosen: code that is marked.
        tile: pixels of a symbol, as shown.
    """
    if not symbols:
        return note("There is no other symbol.")
    columns = math.ceil(math.sqrt(len(symbols)))
    width, height = symbols[0].image.size
    whole = Image.new("RGB", (width * columns, height * -(-len(symbols) // columns)))
    for number, symbol in enumerate(symbols):
        whole.paste(symbol.image.convert("RGB"), (number % columns * width, number // columns * height))
    tall = tile * height / width
    buttons = []
    for number, symbol in enumerate(symbols):
        x, y = -(number % columns) * tile, -(number // columns) * tall
        chance = "" if symbol.chance is None else spell_chance(symbol.chance)
        short = escape(chance.replace("under ", "<").replace(" %", "%"))
        kind = "pg-symbol pg-chosen" if symbol.code == chosen else "pg-symbol"
        buttons.append(
            f'<button type="button" class="{kind}" data-pick="{symbol.code}" title="code {symbol.code}: {chance}">'
            f'<i style="background-position:{x:g}px {y:g}px"></i><span>{symbol.code}</span>'
            f"<small>{short}</small></button>"
        )
    style = (
        f"--pg-sheet:url({data_uri(png_bytes(whole), 'image/png')});--pg-tile:{tile}px;--pg-tall:{tall:g}px;"
        f"--pg-wide:{columns * tile}px"
    )
    return f'<div class="pg-sheet" style="{style}">{"".join(buttons)}</div>'


def spell_chance(chance: float) -> str:
    """A chance for people.

    Example:
        >>> spell_chance(0.4231), spell_chance(0.0123), spell_chance(0.00001)
        ('42 %', '1.2 %', 'under 0.1 %')
    """
    share = 100 * chance
    return "under 0.1 %" if share < 0.1 else f"{share:.0f} %" if share >= 10 else f"{share:.1f} %"


def places(image: Image.Image, grid: tuple[int, int], place: Place) -> str:
    """A picture under a grid whose cells can be chosen."""
    rows, columns = grid
    cells = []
    for number in range(rows * columns):
        r, c = divmod(number, columns)
        kind = "pg-chosen" if (r, c) == (place.row, place.column) else ""
        name = f"row {r + 1}, column {c + 1}"
        cells.append(f'<button type="button" class="{kind}" data-pick="{r},{c}" title="{name}" aria-label="{name}">')
    inner = "</button>".join([*cells, ""])
    style = f"grid-template:repeat({rows},1fr)/repeat({columns},1fr)"
    return f'<div class="pg-places">{picture(image, "the picture")}<div style="{style}">{inner}</div></div>'


def swapped(swap: Swap, names: Sequence[str]) -> str:
    """Before, after, and what changed."""
    place, (old, new) = swap.place, swap.codes
    where = names[place.level]
    if where != "whole image":
        where = f"row {place.row + 1}, column {place.column + 1} of {where}"
    before, after = swap.bits
    figures = [
        figure(swap.before, "before", [f"code {old}", f"{before:.1f} bits in all"]),
        figure(swap.after, "after", [f"code {new}", f"{after:.1f} bits in all"]),
        figure(swap.change, "what changed", ["white: most", f"{100 * swap.visible:.0f} % of the pixels visibly"]),
    ]
    inside = "" if where == "whole image" else f" {100 * swap.inside:.0f} % of the change lies in the code's own cell."
    cost = after - before
    bits = f"{abs(cost):.1f} bits {'less' if cost > 0 else 'more'} likely to the model" if abs(cost) >= 0.05 else ""
    text = f"{where}: code {new} in the place of {old}.{inside}" + (f" The new picture is {bits}." if bits else "")
    return row(figures) + note(text[0].upper() + text[1:])


def completions(output: ImageCompletionOutput, names: Sequence[str]) -> str:
    """The original, what is kept of it, and all completions."""
    original = output.originals[0]
    hidden = Image.new("RGB", original.size, (200, 200, 200)).convert(original.mode)
    kept = Image.composite(original, hidden, Image.fromarray(output.kept_pixels[0].numpy()))
    counts = [f"{int(count)} codes of {name}" for count, name in zip(output.num_kept[0], names, strict=True) if count]
    figures = [figure(original, "the picture", ["as the model reads it"]), figure(kept, "what is kept", counts)]
    each = zip(output.images, output.seeds, output.bits.tolist(), strict=True)
    for number, (image, seed, bits) in enumerate(each):
        data = png_bytes(image, output.png_text(slice(number, number + 1)))
        link = save_link(data, file_name("completed", seed, "png"), "image/png", "save")
        figures.append(figure(image, f"seed {seed}", [f"{bits:.1f} bits"], link))
    return row(figures)


def described(found: Described) -> str:
    """A picture, its decoding, and what the model says."""
    figures = [
        figure(found.picture, "the picture", ["as it is read"]),
        figure(found.decoded, "its codes", ["all that the model sees"]),
    ]
    lines = [
        f"<tr><td>{escape(words) or '<i>no words</i>'}</td><td>{bits:.1f}</td><td>{spell_chance(2**-bits)}</td></tr>"
        for words, bits in found.captions
    ]
    head = "<thead><tr><th>words</th><th>bits</th><th>chance</th></tr></thead>"
    table = f'<table class="pg-table pg-words">{head}<tbody>{"".join(lines)}</tbody></table>'
    return row([*figures, f'<div class="pg-beside">{table}</div>'])


def ladder(found: Ladder, name: str) -> str:
    """Compressed files beside those of other formats."""
    raw = len(found.picture.tobytes())
    figures = [figure(found.picture, "the picture", [f"{raw:,} bytes of pixels"])]
    figures += [_file(point, name) for point in found.ours]
    others = [_file(point, name) for point in found.others]
    return row(figures) + note("The same picture in the usual formats:") + row(others, "pg-small")


def _file(point: FilePoint, name: str) -> str:
    quality = "nothing lost" if math.isinf(point.psnr) else f"{point.psnr:.1f} dB"
    lines = [f"{len(point.data):,} bytes", quality]
    if point.payload_bytes is not None:
        lines.append(f"{point.payload_bytes} of them codes")
        link = save_link(point.data, f"{name}-{point.num_codes}.picto", "application/octet-stream", "save the file")
        return figure(point.image, point.name, lines, link)
    return figure(point.image, point.name, [*lines, *([] if point.note == quality else [point.note])])


def gallery(images: Sequence[Image.Image]) -> str:
    """Pictures, counted from 1."""
    return row([figure(image, str(number)) for number, image in enumerate(images, 1)], "pg-small")


def chips(words: Sequence[str]) -> str:
    """Prompts to click."""
    each = [f'<button type="button" data-pick="{number}">{escape(word)}' for number, word in enumerate(words)]
    return f'<div class="pg-chips">{"</button>".join([*each, ""])}</div>' if words else ""


def header(name: str) -> str:
    """What stands over everything."""
    return (
        '<header class="pg-header"><h1>pictogram</h1><p>Pictures as short sequences of codes, coarse to fine, that a '
        f"language model reads and writes together with words. Model: <b>{escape(name)}</b></p></header>"
    )


def footer(facts: Sequence[tuple[str, str]], limits: str) -> str:
    """What stands under everything."""
    each = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<footer class="pg-footer"><dl>{each}</dl><p>{escape(limits)}</p></footer>'
