import warnings
from types import SimpleNamespace

import pytest
from tiny_apps import needs_gradio

from pictogram.hub.errors import InputError
from pictogram.pipelines.app_events import guard, on_pick, pictures, upload

pytestmark = needs_gradio


def fails(error: Exception):
    def run(value):
        raise error

    return run


def test_what_works_is_passed_on():
    def double(value):
        return 2 * value

    def each(value):
        yield from range(value)

    assert guard(double)(2) == 4 and guard(double).__name__ == "double"
    assert list(guard(each)(3)) == [0, 1, 2]


def test_a_visitors_mistake_is_a_warning_and_leaves_the_page_as_it_is():
    import gradio as gr

    with pytest.warns(UserWarning, match=r"no &lt;b&gt;x&lt;/b&gt; &#123; here"):
        assert guard(fails(InputError("no <b>x</b>\n{ here")))(1) == gr.skip()

    def late(value):
        yield value
        raise InputError("late")

    with pytest.warns(UserWarning, match="late"):
        assert list(guard(late)(1)) == [1, gr.skip()]


def test_a_bug_keeps_its_traceback_for_the_log(capsys):
    import gradio as gr

    with pytest.raises(gr.Error, match="Something went wrong here") as error:
        guard(fails(ZeroDivisionError("secret")))(1)
    assert "secret" not in str(error.value) and not error.value.print_exception
    assert "ZeroDivisionError: secret" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "value"),
    [({"pick": "3,4"}, "3,4"), ({"pick": 3}, ""), ({}, ""), (None, ""), ("pick", ""), ([], "")],
)
def test_clicks(data, value):
    import gradio as gr

    seen = []

    def run(place, other):
        seen.append((place, other))
        return other

    def run_all(place, other):
        yield run(place, other)

    with gr.Blocks(analytics_enabled=False) as blocks:
        shown, box = pictures("<b>x</b>"), gr.State(0)
        on_pick(shown, run, [box], [box])
        on_pick(shown, run_all, [box], [box])
    first, second = blocks.fns.values()
    assert first.fn and second.fn
    assert (first.name, second.name) == ("run", "run_all")
    event = gr.EventData(shown, data)
    assert first.fn(event, 7) == 7 and list(second.fn(event, 8)) == [8]
    assert seen == [(value, 7), (value, 8)]


def test_gradio_hands_the_click_over():
    """It looks at a function's annotations for that."""
    import gradio as gr
    from gradio.helpers import special_args

    with gr.Blocks(analytics_enabled=False) as blocks, warnings.catch_warnings():
        warnings.simplefilter("error")
        shown, box = pictures(), gr.State(0)
        on_pick(shown, lambda place, other: place, [box], [box])
    event = gr.EventData(shown, {"pick": "5"})
    handler = next(iter(blocks.fns.values())).fn
    assert handler
    values, *_ = special_args(handler, [7], event_data=event)
    assert values[0].pick == "5" and values[1] == 7


def test_uploads_stay_unopened():
    import gradio as gr

    with gr.Blocks(analytics_enabled=False):
        component = upload("A picture")
    assert component.preprocess(SimpleNamespace(path="/nowhere/x.png")) == "/nowhere/x.png"
    assert component.preprocess(SimpleNamespace(path=None)) is None and component.preprocess(None) is None
    assert component.get_block_name() == "image"
