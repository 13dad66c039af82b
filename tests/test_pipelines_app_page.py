"""The page as gradio has it, without a browser; test_pipelines_app.py has one."""

import itertools
import json
import socket
import sys
import urllib.request
import warnings

import pytest
from tiny_apps import broken_files, call, listeners, model, needs_gradio, odd_pictures, page
from tiny_bundles import DEEP, bundle_around
from tiny_pictures import picture

from pictogram.hub.errors import InputError
from pictogram.pipelines import app_html
from pictogram.pipelines.app_actions import DrawnPicture, Sampling, caption, complete, draw, look
from pictogram.pipelines.app_files import compress_picture
from pictogram.pipelines.app_model import AppModel
from pictogram.pipelines.app_page import import_gradio, launch_page, new_page
from pictogram.pipelines.app_symbols import Place, alternatives, swap

pytestmark = needs_gradio


def test_every_listener_waits_for_the_model_or_is_hidden():
    for found in page().fns.values():
        assert not found.queue or (found.concurrency_limit, found.concurrency_id) == (1, "model")
        assert (found.api_visibility == "public") == (found.name == "run" and found.api_name in ("draw", "caption"))
    assert {found.api_name for found in page().fns.values() if found.api_visibility == "public"} == {"draw", "caption"}


NONSENSE = [None, "", "x", -1, 1e300, float("nan"), 10**30, [], {}, {"layers": [None]}, "../../etc/passwd", "9,9,9"]


def test_no_listener_fails_on_nonsense(tmp_path):
    """None of them reaches the guard with anything but a visitor's mistake: that would be gradio's error here."""
    import gradio as gr

    paths = [str(path) for path in [*broken_files(tmp_path), *odd_pictures(tmp_path)]]
    for found in page().fns.values():
        states = {place: block.value for place, block in enumerate(found.inputs) if isinstance(block, gr.State)}
        picks = "event" in found.fn.__annotations__
        for value in [*NONSENSE, *paths]:
            values = [states.get(place, value) for place in range(len(found.inputs))]
            events = [gr.EventData(None, {"pick": value})] if picks else []
            call(found, *events, *values)


def test_what_it_looks_like_before_anything_is_done():
    config = json.dumps(page().get_config_file(), default=str)
    for text in ("red apple", "fingerprint of codes", "What the 5 codes of the whole image stand for", "Compress"):
        assert text in config
    assert "{{this}}" not in config


MODELS = {
    "pyramid": lambda: bundle_around(DEEP, "pyramid"),
    "no whole-image code": lambda: bundle_around([8, 4]),
    "one level": lambda: bundle_around([8]),
    "residual": lambda: bundle_around([4, 4, 4]),
    "grey": lambda: bundle_around(DEEP, settings={"num_channels": 1}, num_channels=1),
    "padded": lambda: bundle_around(DEEP, do_pad=True),
    "native sizes": lambda: bundle_around(DEEP, do_resize=False, sizes=((16, 16), (24, 16))),
}


@pytest.mark.parametrize("kind", MODELS)
def test_models_of_every_kind(kind, tmp_path):
    """Whatever the page shows can be used."""
    other = AppModel(MODELS[kind]())
    texts = json.dumps(new_page(other, []).get_config_file(), default=str)
    assert ("of the whole image stand for" in texts) == (other.has_symbols and other.shows_levels)
    last = list(draw(other, "red apple", Sampling(2)))[-1]
    counts = [rows * columns for rows, columns in other.grids]
    assert app_html.growth(last, other.level_names, counts).count("pg-large") == 2
    picture(4, (16, 16)).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    _, _, codes = look(other, other.open(path))
    for drawn in (last.pictures()[0], DrawnPicture(other.open(path), codes)):
        place = Place(len(other.grids) - 1, 0, 0)
        found = swap(other, drawn, place, alternatives(other, drawn, place)[0].code)
        assert "Level" not in app_html.swapped(found, other.level_names)
    assert app_html.described(caption(other, path)).count("<figure") == 2
    found = compress_picture(other, path)
    assert app_html.ladder(found, "a").count(".picto") == (1 if kind == "pyramid" else len(other.grids))
    output = complete(other, path, Sampling(2), keep_rows=0.5)
    assert app_html.completions(output, other.level_names).count("<figure") == 4


def test_it_is_served_and_nothing_in_it_is_from_elsewhere():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        url = launch_page(page(), server_name="127.0.0.1", server_port=_free_port())
    try:
        with urllib.request.urlopen(f"{url}config") as answer:
            config = json.load(answer)
        assert config["footer_links"] == [] and not config["analytics_enabled"] and config["title"] == "pictogram"
        assert ".pg-picture" in config["css"] and not config.get("stylesheets")
        with urllib.request.urlopen(f"{url}theme.css") as answer:
            theme = answer.read().decode()
        assert "system-ui" in theme and 'url("http' not in theme and "@font-face" not in theme
    finally:
        page().close(verbose=False)


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="Cannot find empty port"):
        launch_page(new_page(model(), []), server_name="127.0.0.1", server_port=taken.getsockname()[1])


def test_without_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"the web app needs gradio .*: pip install gradio"):
        import_gradio()


def test_listeners_are_found_by_name():
    assert len(listeners("run")) >= 5 and not listeners("nobody")
    assert len({*itertools.chain(found.name for found in page().fns.values())}) > 10


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
