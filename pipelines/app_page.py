"""The page of the web app: header, tabs, footer, theme; and how it is served without anything from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..hub.errors import InputError
from . import app_html
from .app_model import AppModel

_STYLE = Path(__file__).with_name("app.css")

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Ubuntu", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

_MAX_WAITING = 32
"""Requests in the queue; who comes later is told so."""

_MAX_SESSIONS = 200
_MAX_UPLOAD = "20mb"

_NUM_EXAMPLES = 12


def import_gradio() -> Any:
    """The package, told first that nothing is to be reported to anybody.

    Raises:
        InputError: it is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError as error:
        raise InputError(f"the web app needs gradio ({error}): pip install gradio") from None
    return gradio


def new_page(model: AppModel, examples: Sequence[str] | None = None) -> Any:
    """Lays the page out.

    Args:
        model: the bundle.
        examples: prompts to click; None takes captions that the prior writes itself.

    Returns:
        gradio's Blocks.

    Raises:
        InputError: gradio is not installed.
    """
    gr = import_gradio()
    from .app_events import text
    from .app_session import Session
    from .app_symbols_tab import symbols_tab
    from .app_tabs import caption_tab, complete_tab, compress_tab, draw_tab

    if examples is None:
        examples = model.known_words(_NUM_EXAMPLES)
    facts = model.facts()
    with gr.Blocks(title="pictogram", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        session = gr.State(Session())
        text(app_html.header(facts[0][1]))
        with gr.Tabs():
            with gr.Tab("Draw"):
                draw_tab(model, session, examples)
            with gr.Tab("Symbols"):
                symbols_tab(model, session)
            with gr.Tab("Complete"):
                complete_tab(model, session)
            with gr.Tab("Caption"):
                caption_tab(model, session)
            with gr.Tab("Compress"):
                compress_tab(model, session)
        text(app_html.footer(facts, model.limits()))
    return page.queue(max_size=_MAX_WAITING, default_concurrency_limit=1)


def launch_page(page: Any, **options: Any) -> str:
    """Serves a page with the app's looks, and goes on at once.

    Args:
        page: see `new_page`.
        options: for gradio's `launch`, such as `server_name` and `server_port`.

    Returns:
        Its address.

    Raises:
        InputError: the port is taken.
    """
    gr = import_gradio()
    fonts = [gr.themes.Font(name) for name in _FONTS]
    mono = [gr.themes.Font(name) for name in _MONO]
    theme = gr.themes.Default(primary_hue="indigo", neutral_hue="slate", font=fonts, font_mono=mono)
    try:
        _, url, _ = page.launch(
            prevent_thread_lock=True,
            quiet=True,
            show_error=True,
            footer_links=[],
            run_history=False,
            share=False,
            ssr_mode=False,
            pwa=False,
            enable_monitoring=False,
            max_file_size=_MAX_UPLOAD,
            state_session_capacity=_MAX_SESSIONS,
            theme=theme,
            css=_STYLE.read_text(encoding="utf-8"),
            **options,
        )
    except OSError as error:
        raise InputError(" ".join(str(error).split())) from error
    return url
