"""Tabs of the web app that draw, complete, describe and compress; see app_symbols_tab.py for symbols."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from . import app_html
from .app_actions import MAX_SEED, Sampling, caption, complete, draw, painted_mask
from .app_events import listen, on_pick, pictures, text, upload
from .app_files import compress_picture, read_compressed
from .app_model import MAX_IMAGES, AppModel
from .app_session import Session, chosen_picture, take

_EDITOR_SIDE = 384
"""Pixels of a picture that is painted on."""


def _nothing_yet(text: str) -> str:
    return f'<div class="pg-empty">{app_html.escape(text)}</div>'


def sampling_controls(model: AppModel, *, num_images: int = 1, symbol: bool = False) -> tuple[list[Any], Any]:
    """Controls of how pictures are drawn.

    Args:
        model: whose own temperature is offered.
        num_images: at first.
        symbol: with a choice of the whole-image symbol.

    Returns:
        Number of pictures, seed, guidance and temperature; and the symbol's control or None.
    """
    import gradio as gr

    number = gr.Slider(1, MAX_IMAGES, num_images, step=1, label="Pictures")
    with gr.Row(elem_classes="pg-pair"):
        seed = gr.Number(0, precision=0, minimum=0, maximum=MAX_SEED, label="Seed", min_width=120, scale=3)
        dice = gr.Button("New seed", size="sm", min_width=90, scale=2)
    with gr.Accordion("How it draws", open=False):
        guidance = gr.Slider(1, 4, 1, step=0.1, label="Guidance", info="More than 1 follows the words more closely.")
        about = "0 takes the likeliest codes."
        temperature = gr.Slider(0, 1.5, model.temperature, step=0.01, label="Temperature", info=about)
        chosen = None
        if symbol:
            info = "Number of the code for the whole image; empty leaves it to the model."
            chosen = gr.Textbox(label="Symbol", placeholder="any", info=info, max_lines=1)
    dice.click(lambda: random.randrange(1_000_000), None, seed, api_visibility="private", queue=False)
    return [number, seed, guidance, temperature], chosen


def draw_tab(model: AppModel, session: Any, examples: Sequence[str]) -> None:
    """Words to pictures that grow."""
    import gradio as gr

    counts = [rows * columns for rows, columns in model.grids]

    def run(words: Any, number: Any, seed: Any, guidance: Any, temperature: Any, symbol: Any = None) -> Iterator[Any]:
        for drawing in draw(model, words, Sampling(number, seed, guidance, temperature), symbol):
            known = Session(drawing.pictures()) if drawing.is_done else gr.skip()
            yield app_html.growth(drawing, model.level_names, counts), known

    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            words = gr.Textbox(
                label="Words", placeholder="what to draw; empty for anything", max_lines=1, elem_id="draw-words"
            )
            button = gr.Button("Draw", variant="primary", elem_id="draw-button")
            chips = pictures(app_html.chips(examples), visible=bool(examples))
            controls, symbol = sampling_controls(model, symbol=model.has_symbols)
        with gr.Column(scale=3, min_width=400):
            shown = pictures(_nothing_yet("Pictures grow here, level by level."), elem_id="draw-result")
    inputs = [words, *controls, *([symbol] if symbol else [])]
    listen(button.click, run, inputs, [shown, session], name="draw")
    listen(words.submit, run, inputs, [shown, session])
    chosen = on_pick(chips, lambda place: _example(examples, place), [], [words], "hidden")
    listen(chosen.then, run, inputs, [shown, session])
    on_pick(shown, lambda place, session: take(session, place), [session], [session], "hidden")


def _example(examples: Sequence[str], place: str) -> str:
    return examples[int(place)] if place.isdecimal() and int(place) < len(examples) else ""


def source_buttons(tab: str) -> tuple[Any, Any]:
    """An upload, and a button for the picture drawn last; `tab` names their elements."""
    import gradio as gr

    picture = upload("A picture", elem_id=f"{tab}-picture")
    return picture, gr.Button("Take the picture drawn last", size="sm", elem_id=f"{tab}-take")


def source_controls(session: Any, tab: str) -> Any:
    """An upload into which the button puts the picture drawn last; returns the upload."""
    picture, button = source_buttons(tab)
    listen(button.click, lambda session: chosen_picture(session).image, [session], [picture], progress="hidden")
    return picture


def complete_tab(model: AppModel, session: Any) -> None:
    """A part of a picture is kept, the rest drawn."""
    import gradio as gr

    top, paint = "the top of the picture", "all but what I paint over"

    def run(picture: Any, kept: str, share: Any, painting: Any, words: Any, *sampling: Any) -> str:
        mask = painted_mask(painting, model.open(picture).size) if kept == paint else None
        rows = share / 100 if isinstance(share, int | float) else share
        output = complete(model, picture, Sampling(*sampling), words=words, keep_rows=rows, mask=mask)
        return app_html.completions(output, model.level_names)

    def fill(picture: Any) -> Any:
        if not picture:
            return None
        opened = model.open(picture)
        scale = _EDITOR_SIDE / max(opened.size)
        size = max(1, round(opened.width * scale)), max(1, round(opened.height * scale))
        view = opened.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC)
        return {"background": view, "layers": [], "composite": view}

    def switch(kept: str) -> tuple[Any, Any]:
        return gr.update(visible=kept == top), gr.update(visible=kept == paint)

    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            picture = source_controls(session, "complete")
            kept = gr.Radio([top, paint], value=top, label="Keep", elem_id="complete-keep")
            share = gr.Slider(10, 90, 50, step=5, label="Kept from the top, %")
            words = gr.Textbox(label="Words (optional)", max_lines=1)
            controls, _ = sampling_controls(model, num_images=3)
            button = gr.Button("Complete", variant="primary", elem_id="complete-button")
        with gr.Column(scale=3, min_width=400):
            with gr.Group(visible=False) as group:
                editor = gr.ImageEditor(
                    type="pil",
                    format="png",
                    sources=(),
                    transforms=(),
                    layers=False,
                    label="Paint over what shall be drawn anew",
                    brush=gr.Brush(default_size=24, colors=["#e11d48"], color_mode="fixed"),
                    canvas_size=(_EDITOR_SIDE, _EDITOR_SIDE),
                    buttons=[],
                    elem_id="complete-editor",
                    elem_classes="pg-upload",
                )
            about = "Codes whose cells are kept whole stay; the model draws all others, the whole-image code first."
            shown = text(_nothing_yet(about), elem_id="complete-result")
    kept.change(switch, kept, [share, group], api_visibility="private", queue=False)
    listen(picture.change, fill, [picture], [editor], progress="hidden")
    listen(button.click, run, [picture, kept, share, editor, words, *controls], [shown])


def caption_tab(model: AppModel, session: Any) -> None:
    """Pictures to words."""
    import gradio as gr

    def run(picture: Any, seed: Any) -> str:
        return app_html.described(caption(model, picture, seed))

    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            picture = source_controls(session, "caption")
            seed = gr.Number(0, precision=0, minimum=0, maximum=MAX_SEED, label="Seed of the guesses")
            button = gr.Button("Describe", variant="primary", elem_id="caption-button")
        with gr.Column(scale=3, min_width=400):
            about = "Several guesses, the likeliest first: the fewer bits, the likelier."
            shown = text(_nothing_yet(about), elem_id="caption-result")
    listen(button.click, run, [picture, seed], [shown], name="caption")


def compress_tab(model: AppModel, session: Any) -> None:
    """Pictures to files."""
    import gradio as gr

    def run(picture: Any) -> str:
        return app_html.ladder(compress_picture(model, picture), "picture")

    def read(path: Any) -> str:
        return app_html.gallery(read_compressed(model, path))

    with gr.Row():
        with gr.Column(scale=1, min_width=290):
            picture = source_controls(session, "compress")
            button = gr.Button("Compress", variant="primary", elem_id="compress-button")
            with gr.Accordion("Read a compressed file", open=False, elem_id="compress-read"):
                file = gr.File(
                    label="A .picto file of this model", type="filepath", height=120, elem_id="compress-file"
                )
                opens = gr.Button("Read", size="sm", elem_id="read-button")
        with gr.Column(scale=3, min_width=400):
            about = "The model's own chances write the codes; any number of levels makes a whole, smaller file."
            shown = text(_nothing_yet(about), elem_id="compress-result")
    listen(button.click, run, [picture], [shown])
    listen(opens.click, read, [file], [shown])
