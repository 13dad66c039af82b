"""The tab of the web app for symbols: look at them, draw under one, put one in the place of another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import app_html
from .app_actions import DrawnPicture, Sampling, draw, look
from .app_events import listen, on_pick, pictures, text
from .app_model import AppModel, whole_number
from .app_session import Session, chosen_picture, take
from .app_symbols import MAX_SYMBOLS, Place, Swap, alternatives, check_place, prototypes, swap
from .app_tabs import source_buttons

_NUM_DRAWN = 4
"""Pictures under a symbol."""

_BY_NUMBER, _BY_CHANCE = "number", "chance"

_HINT = '<div class="pg-empty">Take or upload a picture, click a place, then click what shall stand there.</div>'


@dataclass(frozen=True, eq=False)
class Bench:
    """The picture whose codes a visitor swaps.

    Attributes:
        picture: with its codes; None before the first one.
        place: that was clicked last.
        done: the last swap.
    """

    picture: DrawnPicture | None = None
    place: Place = field(default_factory=lambda: Place(0, 0, 0))
    done: Swap | None = None


def symbols_tab(model: AppModel, session: Any) -> None:
    """Prototypes and what is drawn under them; below, swaps."""
    if model.has_symbols and model.shows_levels:
        _prototypes(model, session)
    _swaps(model, session)


def _prototypes(model: AppModel, session: Any) -> None:
    import gradio as gr

    def show(words: Any, order: Any) -> str:
        return app_html.sheet(prototypes(model, words, by_chance=order == _BY_CHANCE))

    def under(place: str, words: Any, seed: Any) -> Iterator[Any]:
        symbol = whole_number("the symbol", place, 0, model.codebook_sizes[0] - 1)
        counts = [rows * columns for rows, columns in model.grids]
        for drawing in draw(model, words, Sampling(_NUM_DRAWN, seed, 1.0, model.temperature), symbol):
            known = Session(drawing.pictures()) if drawing.is_done else gr.skip()
            title = app_html.note(f"Drawn under symbol {symbol}:")
            yield title + app_html.growth(drawing, model.level_names, counts), known

    count = model.codebook_sizes[0]
    most = f", of which {MAX_SYMBOLS} are shown" if count > MAX_SYMBOLS else ""
    gr.Markdown(
        f"### What the {count} codes of the whole image stand for\n"
        f"Each code decoded alone{most}; under it, how often the model expects it. Click one to draw under it."
    )
    with gr.Row():
        words = gr.Textbox(
            label="Words (optional)", info="What does the model expect behind them?", max_lines=1, scale=3
        )
        order = gr.Radio([_BY_NUMBER, _BY_CHANCE], value=_BY_NUMBER, label="Sorted by", scale=2)
        seed = gr.Number(0, precision=0, minimum=0, label="Seed", scale=1, min_width=100)
    # Made when the page is: a visitor's first look costs nothing.
    sheet = pictures(show("", _BY_NUMBER), elem_id="symbols-sheet")
    shown = pictures(elem_id="symbols-result")
    for event in (words.submit, order.change):
        listen(event, show, [words, order], [sheet])
    on_pick(sheet, under, [words, seed], [shown, session])
    on_pick(shown, lambda place, session: take(session, place), [session], [session], "hidden")


def _swaps(model: AppModel, session: Any) -> None:
    import gradio as gr

    names = model.level_names

    def show(bench: Bench) -> tuple[Any, ...]:
        """Bench, picture under its grid, and what else could stand at the place."""
        if bench.picture is None:
            return bench, "", "", _HINT
        here = check_place(model, bench.picture, bench.place)
        grid = model.grids[bench.place.level]
        others = alternatives(model, bench.picture, bench.place)
        where = names[bench.place.level]
        if grid != (1, 1):
            where += f", row {bench.place.row + 1}, column {bench.place.column + 1}"
        about = f"{where}: code {here} stands there. Likeliest others by the model, with what the picture becomes:"
        sheet = app_html.note(about[0].upper() + about[1:]) + app_html.sheet(others)
        done = app_html.swapped(bench.done, names) if bench.done else _HINT
        return bench, app_html.places(bench.picture.image, grid, bench.place), sheet, done

    def take_drawn(session: Any, level: Any) -> tuple[Any, ...]:
        drawn = chosen_picture(session)  # with its own codes: encoded again it might have others
        return drawn.image, *show(Bench(drawn, _first(model, level)))

    def take_upload(path: Any, level: Any) -> tuple[Any, ...]:
        if not path:
            return show(Bench())
        _, decoded, codes = look(model, model.open(path))
        return show(Bench(DrawnPicture(decoded, codes), _first(model, level)))

    def choose_level(bench: Bench, level: Any) -> tuple[Any, ...]:
        return show(Bench(bench.picture, _first(model, level), bench.done))

    def choose_place(place: str, bench: Bench) -> tuple[Any, ...]:
        row, _, column = place.partition(",")
        numbers = [whole_number("the place", each, 0, 10_000) for each in (row, column)]
        return show(Bench(bench.picture, Place(bench.place.level, *numbers), bench.done))

    def choose_code(code: Any, bench: Bench) -> tuple[Any, ...]:
        if bench.picture is None:
            return show(bench)
        done = swap(model, bench.picture, bench.place, code)
        return show(Bench(bench.picture, bench.place, done))[::3]

    def keep(bench: Bench) -> tuple[Any, ...]:
        return show(Bench(bench.done.picture, bench.place) if bench.done else bench)

    gr.Markdown("### Another code in its place\nAll other codes stay as they are.")
    bench = gr.State(Bench())
    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            picture, takes = source_buttons("swap")
            level = gr.Radio(names, value=names[0], label="Level", elem_id="swap-level")
        with gr.Column(scale=3, min_width=400):
            with gr.Row():
                with gr.Column(scale=1, min_width=256):
                    grid = pictures(elem_id="swap-grid")
                    with gr.Row(elem_classes="pg-pair"):
                        code = gr.Textbox(label="Any code", placeholder="number", max_lines=1, min_width=100)
                        put = gr.Button("Put it there", size="sm", min_width=90)
                    kept = gr.Button("Go on with the new picture", size="sm")
                others = pictures(elem_id="swap-others")
            shown = text(_HINT, elem_id="swap-result")
    outputs = [bench, grid, others, shown]
    for event in (picture.upload, picture.clear):
        listen(event, take_upload, [picture, level], outputs)
    listen(takes.click, take_drawn, [session, level], [picture, *outputs])
    listen(level.change, choose_level, [bench, level], outputs)
    on_pick(grid, choose_place, [bench], outputs)
    on_pick(others, choose_code, [bench], [bench, shown])
    listen(put.click, choose_code, [code, bench], [bench, shown])
    listen(kept.click, keep, [bench], outputs)


def _first(model: AppModel, level: Any) -> Place:
    """The middle of a level's grid, where most pictures have something."""
    number = model.level_names.index(level) if level in model.level_names else 0
    rows, columns = model.grids[number]
    return Place(number, rows // 2, columns // 2)
