"""The symbols' tab, its listeners called one after the other as a visitor would."""

from typing import Any

import pytest
from tiny_apps import call, model, page
from tiny_pictures import png

from pictogram.pipelines.app_actions import Sampling, draw
from pictogram.pipelines.app_session import Session
from pictogram.pipelines.app_symbols import Place

gr = pytest.importorskip("gradio")


def listener(name: str) -> Any:
    return next(each for each in page().fns.values() if each.name == name)


def clicked(value: str) -> Any:
    return gr.EventData(None, {"pick": value})


@pytest.fixture
def bench(tmp_path):
    (tmp_path / "a.png").write_bytes(png(3, (16, 16)))
    bench, grid, others, shown = call(listener("take_upload"), str(tmp_path / "a.png"), "2x2")
    assert bench.place == Place(1, 1, 1) and grid.count("data-pick") == 4
    assert others.count("data-pick") == 5 and "click a place" in shown
    return bench


def test_prototypes():
    show = listener("show")
    assert call(show, "", "number").count("data-pick") == 5
    text = call(show, "red apple", "chance")
    assert text.count("data-pick") == 5 and text != call(show, "", "chance")


def test_drawing_under_a_symbol():
    text, session = call(listener("under"), clicked("2"), "", 7)
    assert "Drawn under symbol 2" in text and "pg-done" in text
    assert [int(drawn.codes[0]) for drawn in session.drawn] == [2] * 4 and session.drawn[0].seed == 7
    assert call(listener("under"), clicked("77"), "", 7) == gr.skip()


def test_swapping_by_a_click_and_by_number_and_going_on(bench):
    bench, grid, _, _ = call(listener("choose_place"), clicked("0,1"), bench)
    assert bench.place == Place(1, 0, 1) and "row 1, column 2" in grid
    old = int(bench.picture.codes[1][0, 0, 1])
    new = str((old + 1) % 6)
    first, shown = call(listener("choose_code"), clicked(new), bench)
    by_number = next(each for each in page().fns.values() if each.name == "choose_code" and len(each.inputs) == 2)
    _, again = call(by_number, new, bench)
    assert shown == again and f"code {new} in the place of {old}" in shown
    kept, _, _, shown = call(listener("keep"), first)
    assert int(kept.picture.codes[1][0, 0, 1]) == int(new) and "click a place" in shown
    assert call(listener("keep"), kept)[0] is kept  # nothing to go on with


def test_another_level_keeps_the_picture(bench):
    other, grid, _, _ = call(listener("choose_level"), bench, "4x4")
    assert other.picture is bench.picture and other.place == Place(2, 2, 2) and grid.count("data-pick") == 16
    other, grid, _, _ = call(listener("choose_level"), bench, "whole image")
    assert other.place == Place(0, 0, 0) and grid.count("data-pick") == 1


def test_the_picture_drawn_last_comes_with_its_codes():
    session = Session(list(draw(model(), "red apple", Sampling()))[-1].pictures())
    image, bench, *_ = call(listener("take_drawn"), session, "whole image")
    assert image is bench.picture.image and bench.picture is session.drawn[0]
    assert call(listener("take_drawn"), Session(), "whole image") == gr.skip()


def test_nothing_on_the_bench(bench):
    empty, grid, others, _ = call(listener("take_upload"), None, "2x2")
    assert empty.picture is None and grid == others == ""
    for name, values in [
        ("choose_level", [empty, "4x4"]),
        ("choose_place", [clicked("0,0"), empty]),
        ("choose_code", [clicked("1"), empty]),
        ("keep", [empty]),
    ]:
        answer = call(listener(name), *values)
        assert answer == gr.skip() or answer[0].picture is None
    for place in ("9,9", "1", "", "x,y", "-1,0"):
        assert call(listener("choose_place"), clicked(place), bench) == gr.skip()
