"""The page as gradio has it, without a browser; test_pipelines_app.py has one."""

import itertools
import json
import socket
import sys
import urllib.request
import warnings

import pytest
from tiny_apps import broken_files, call, listeners, model, needs_gradio, odd_pictures, page

from pictogram.hub.errors import InputError
from pictogram.pipelines.app_model import AppModel
from pictogram.pipelines.app_page import import_gradio, launch_page, new_page

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


@pytest.mark.parametrize("order", ["pyramid"])
def test_models_that_cannot_do_everything(order):
    """No symbols, no levels to be seen: the page builds, without what is not there."""
    from tiny_bundles import bundle_around

    for other in (model(order), AppModel(bundle_around([8, 4]))):
        texts = json.dumps(new_page(other, []).get_config_file(), default=str)
        assert "of the whole image stand for" not in texts


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
    with pytest.raises(InputError, match=r"the web app needs gradio .*: pip install -e '\.\[app\]'"):
        import_gradio()


def test_listeners_are_found_by_name():
    assert len(listeners("run")) >= 5 and not listeners("nobody")
    assert len({*itertools.chain(found.name for found in page().fns.values())}) > 10


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
