"""What the listeners of the tabs answer, called as gradio calls them."""

from typing import Any

import pytest
from PIL import Image
from tiny_apps import call, model, needs_gradio, page
from tiny_pictures import picture, png

from pictogram.pipelines.app_session import Session

pytestmark = needs_gradio


def by_label(component: Any) -> str:
    return str(getattr(component, "label", None) or getattr(component, "value", None) or component.elem_id)


def run_of(output: str) -> Any:
    """The listener that writes into an element."""
    found = [each for each in page().fns.values() if each.name == "run" and each.outputs[0].elem_id == output]
    return found[0]


def test_drawing_gives_pictures_and_remembers_them():
    text, session = call(run_of("draw-result"), "red apple", 2, 5, 1.0, 1.0, "")
    assert text.count("pg-card") == 2 + 1 and "pg-done" in text  # two cards in their row
    assert [drawn.seed for drawn in session.drawn] == [5, 6] and session.chosen == 0
    text, session = call(run_of("draw-result"), "", 1, 0, 1.0, 1.0, "3")
    assert int(session.drawn[0].codes[0]) == 3


def test_examples_fill_the_words_in():
    import gradio as gr

    found = next(each for each in page().fns.values() if [by_label(out) for out in each.outputs] == ["Words"])
    for pick, words in [("0", "red apple"), ("1", "<b>{{this}} ${1}</b>"), ("2", ""), ("x", "")]:
        assert call(found, gr.EventData(None, {"pick": pick})) == words


def test_clicked_pictures_are_taken_along():
    import gradio as gr

    _, session = call(run_of("draw-result"), "", 3, 0, 1.0, 1.0, "")
    picks = [each for each in page().fns.values() if [type(out) for out in each.outputs] == [gr.State]]
    assert len(picks) == 2  # of the tabs that draw
    for found in picks:
        assert call(found, gr.EventData(None, {"pick": "2"}), session).chosen == 2
    takes = [each for each in page().fns.values() if str(each.outputs[0].elem_id).endswith("-picture")]
    assert len(takes) == 4
    for found in (each for each in takes if each.name != "take_drawn"):
        assert call(found, session) is session.drawn[0].image
        assert call(found, Session()) == gr.skip()


@pytest.mark.parametrize("kept", ["the top of the picture", "all but what I paint over"])
def test_completing(kept, tmp_path):
    import gradio as gr

    (tmp_path / "a.png").write_bytes(png(0, (20, 16)))
    layer = Image.new("RGBA", (384, 307))
    layer.paste((9, 9, 9, 255), (0, 0, 100, 100))
    values = [kept, 50, {"background": None, "layers": [layer], "composite": None}, "red", 2, 0, 1.0, 1.0]
    text = call(run_of("complete-result"), str(tmp_path / "a.png"), *values)
    assert text.count("<figure") == 4
    assert call(run_of("complete-result"), None, *values) == gr.skip()


def test_the_editor_shows_the_picture_large(tmp_path):
    fill = next(each for each in page().fns.values() if each.name == "fill")
    (tmp_path / "a.png").write_bytes(png(0, (20, 10)))
    assert call(fill, str(tmp_path / "a.png"))["background"].size == (384, 192)
    (tmp_path / "b.png").write_bytes(png(0, (1000, 3)))
    assert call(fill, str(tmp_path / "b.png"))["background"].size == (384, 1)
    assert call(fill, None) is None
    switch = next(each for each in page().fns.values() if each.name == "switch")
    first, second = switch.fn("all but what I paint over")
    assert (first["visible"], second["visible"]) == (False, True)


def test_captions(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    assert "<table" in call(run_of("caption-result"), str(tmp_path / "a.png"), 0)


def test_files_and_back(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    assert call(run_of("compress-result"), str(tmp_path / "a.png")).count(".picto") == 3
    (tmp_path / "a.picto").write_bytes(model().codec.compress([picture(1), picture(2)]).data)
    read = next(each for each in page().fns.values() if each.name == "read")
    assert call(read, str(tmp_path / "a.picto")).count("<figure") == 2


def test_new_seeds():
    dice = [each for each in page().fns.values() if not each.inputs and not each.queue]
    assert len(dice) == 2 and all(0 <= found.fn() < 10**6 for found in dice)
