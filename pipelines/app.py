"""The `app` command: a bundle as a web page, here or as a Space of the Hub."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..hub.command_line import check_options, command, entries, option, quiet_libraries, run_command
from ..hub.errors import InputError
from ..lm.bundle import Bundle
from ..tokenizer.devices import default_device
from .app_model import AppModel
from .app_page import import_gradio, launch_page, new_page


@dataclass(kw_only=True)
class AppConfig:
    """Which model is shown, and where."""

    model: str = option("noto", "Folder of a bundle, its name on the Hub, or the name of a shipped model.")
    revision: str = option("", "Branch, tag or commit of the bundle on the Hub.")
    examples: str = option("", "Prompts to click, with commas between them; by default the model writes some.")
    host: str = option("127.0.0.1", "Address to listen at; 0.0.0.0 for all of this machine's.")
    port: int = option(7860, "Port to listen at; 0 takes a free one.", at_least=0, at_most=65535)
    open: bool = option(False, "Open the page in a browser.")
    export: str = option("", "Folder that is written as a Space of the Hub, in place of serving here.")

    def __post_init__(self) -> None:
        check_options(self)


def app(config: AppConfig) -> dict[str, Any]:
    """Serves until SIGINT or SIGTERM, or exports.

    Raises:
        InputError: gradio is not installed, the address is taken, or the bundle cannot be loaded.
    """
    if config.export:
        from .app_space import export_space

        return export_space(config.model, Path(config.export).expanduser(), config.revision, entries(config.examples))
    import_gradio()
    port = _free_port(config.host, config.port)
    page = _page(config.model, config.revision, entries(config.examples))
    url = launch_page(page, server_name=config.host, server_port=port, inbrowser=config.open)
    print(f"pictogram at {url}; Ctrl-C ends it", file=sys.stderr, flush=True)
    ends = threading.Event()
    handlers = {each: signal.signal(each, lambda *_: ends.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        ends.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        page.close(verbose=False)
    return {"url": url}


def run_space(model: str, revision: str = "", examples: list[str] | None = None) -> None:
    """What the app.py of a Space calls: serves where the Space wants it, and does not return.

    Args:
        model: as for `Bundle.from_pretrained`.
        revision: of it.
        examples: prompts to click; the model writes some where there are none.
    """
    import_gradio()
    quiet_libraries()
    page = _page(model, revision, examples or [])
    print(f"pictogram at {launch_page(page)}", file=sys.stderr, flush=True)
    page.block_thread()


def _page(model: str, revision: str, examples: list[str]) -> Any:
    bundle = Bundle.from_pretrained(model, revision or None).to(default_device())
    return new_page(AppModel(bundle), examples or None)


def _free_port(host: str, port: int) -> int:
    """A port that is taken is known before a large bundle is loaded."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
            return free.getsockname()[1]
    except OSError as error:
        raise InputError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error


main = command(
    AppConfig,
    app,
    "app",
    """Show a bundle as a web page: draw, look at symbols, complete, caption and compress.

    The page needs no network. It has no accounts: keep it on this machine or in a network of your own, or export it as
    a Space of the Hub.

    Example: pictogram app --model noto --open
    """,
)

if __name__ == "__main__":
    run_command(main)
