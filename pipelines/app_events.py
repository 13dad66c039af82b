"""What the tabs of the web app share: listeners that never show a traceback, clicks on pictures, uploads.

gradio is imported where it is used, so the package works without it.
"""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..hub.errors import InputError
from .app_html import escape

PICK = """
const pick = (event) => {
    const found = event.target.closest("[data-pick]");
    if (!found || event.target.closest("a")) return;
    element.querySelectorAll(".pg-chosen").forEach((other) => other.classList.remove("pg-chosen"));
    found.classList.add("pg-chosen");
    trigger("click", {pick: found.dataset.pick});
};
element.addEventListener("click", pick);
element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("figure[data-pick]")) pick(event);
});
"""
"""Script of an HTML component: a click on an element with `data-pick` is marked, and sent with its value."""

_ONE = {"concurrency_limit": 1, "concurrency_id": "model"}
"""Listeners that run the model wait for each other."""

_SECONDS = 8
"""That a message stays."""


def guard(run: Callable[..., Any]) -> Callable[..., Any]:
    """A listener that says in one line what went wrong, and leaves the page as it is.

    Args:
        run: a function, or one that yields.

    Returns:
        One of the same kind. An `InputError` becomes a warning of gradio; a bug becomes its error, and the traceback
        goes to the server's standard error.
    """

    @functools.wraps(run)
    def answer(*values: Any) -> Any:
        try:
            return run(*values)
        except Exception as error:
            return _excuse(error)

    @functools.wraps(run)
    def answers(*values: Any) -> Iterator[Any]:
        try:
            yield from run(*values)
        except Exception as error:
            yield _excuse(error)

    return answers if inspect.isgeneratorfunction(run) else answer


def _excuse(error: Exception) -> Any:
    """What is shown in the place of a result: nothing new."""
    import gradio as gr

    if isinstance(error, InputError):
        gr.Warning(escape(" ".join(str(error).split())), duration=_SECONDS, title="That does not work")
        return gr.skip()
    traceback.print_exception(error, file=sys.stderr)
    raise gr.Error(
        "Something went wrong here; whoever runs this page finds the reason in its log.",
        duration=_SECONDS,
        print_exception=False,
    ) from None


def listen(
    event: Callable[..., Any],
    run: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    *,
    name: str | None = None,
    progress: str = "minimal",
) -> Any:
    """Binds a guarded function to an event, such as `button.click`; one at a time uses the model.

    Args:
        event: of a component.
        run: takes the inputs' values and returns or yields one value per output, one alone without a tuple.
        inputs: components.
        outputs: components.
        name: under which programs can call it; None hides it from them.
        progress: how waiting is shown, see gradio.

    Returns:
        gradio's dependency.
    """
    visibility = {"api_name": name, "api_visibility": "public"} if name else {"api_visibility": "private"}
    return event(guard(run), [*inputs], [*outputs], show_progress=progress, **visibility, **_ONE)


def on_pick(
    component: Any, run: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any], progress: str = "minimal"
) -> Any:
    """Binds a guarded function to clicks on what a `pictures` component shows.

    Args:
        component: see `pictures`.
        run: takes the value of `data-pick`, a string, then the inputs' values.
        inputs: components.
        outputs: components.
        progress: how waiting is shown.
    """
    import gradio as gr

    guarded = guard(run)

    def picked(event: Any, *values: Any) -> Any:
        return guarded(_value(event), *values)

    def picked_all(event: Any, *values: Any) -> Iterator[Any]:
        yield from guarded(_value(event), *values)

    handler = picked_all if inspect.isgeneratorfunction(run) else picked
    handler.__annotations__ = {"event": gr.EventData}  # gradio looks here for what to hand over
    handler.__name__ = run.__name__
    options: dict[str, Any] = {"show_progress": progress, "api_visibility": "private", **_ONE}
    return component.click(handler, [*inputs], [*outputs], **options)


def _value(event: Any) -> str:
    """What was clicked; browsers may send anything."""
    data = getattr(event, "_data", None)
    value = data.get("pick") if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def pictures(value: str = "", **options: Any) -> Any:
    """An HTML component whose elements with `data-pick` can be clicked, see `on_pick`."""
    import gradio as gr

    return gr.HTML(value, js_on_load=PICK, apply_default_css=False, **options)


def text(value: str = "", **options: Any) -> Any:
    """An HTML component that only shows."""
    import gradio as gr

    return gr.HTML(value, js_on_load=None, apply_default_css=False, **options)


def upload(label: str, **options: Any) -> Any:
    """A component for a picture of any kind; its value is a path, or None.

    gradio itself would open the file, convert it, and end with a traceback if it is none.
    """
    import gradio as gr

    defaults: dict[str, Any] = {"type": "filepath", "image_mode": None, "format": "png", "height": 256}
    defaults |= {"sources": ["upload", "clipboard"], "buttons": ["fullscreen"], "elem_classes": "pg-upload"}
    component = gr.Image(label=label, show_label=False, **(defaults | options))
    component.preprocess = _path  # a subclass would do, but gradio writes a .pyi file beside its source
    return component


def _path(payload: Any) -> str | None:
    return str(payload.path) if payload is not None and payload.path else None
