"""The `pictogram` command, also `python -m pictogram`: each subcommand is imported when it is asked for.

So help comes at once, and a command waits for nothing that only others need.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from .hub.command_line import new_app, quiet_libraries, run_app


class Entry(NamedTuple):
    """Where a subcommand lives: its module, the function or group of commands in it, and the first line of its help."""

    module: str
    name: str
    summary: str


COMMANDS = {
    "demo": Entry(
        "pipelines.demo",
        "main",
        "Run the whole chain on the embedded pictures: a few minutes to pictures made from words.",
    ),
    "train-tokenizer": Entry("tokenizer.train", "main", "Train an image tokenizer: pictures -> codes -> pictures."),
    "adapt": Entry(
        "tokenizer.adapt",
        "main",
        "Adapt a trained image tokenizer to new pictures by few of its symbols, so that the old ones hardly notice.",
    ),
    "train-patches": Entry(
        "tokenizer.train_patches", "main", "Make a tokenizer without a network, in seconds: codebooks of patches."
    ),
    "import-tokenizer": Entry(
        "tokenizer.import_tokenizer", "main", "Make an image tokenizer of another project's VQ checkpoint."
    ),
    "tokenize": Entry(
        "pipelines.tokenize", "main", "Turn pictures into a dataset of codes: parquet files and a manifest."
    ),
    "build-documents": Entry(
        "lm.build_documents",
        "main",
        "Write a dataset of codes as documents, the input_ids of any trainer of language models.",
    ),
    "train-lm": Entry(
        "lm.train",
        "main",
        "Train the joint prior on a dataset of codes: words -> pictures and pictures -> words.",
    ),
    "train-joint": Entry(
        "lm.train_joint",
        "main",
        "Let a bundle's image tokenizer and prior learn on together by rate and distortion; codebooks stay.",
    ),
    "adapt-prior": Entry(
        "lm.adapt_prior",
        "main",
        "Grow a bundle with its image tokenizer and train the rows of the new codes alone; old files stay readable.",
    ),
    "sweep-rates": Entry(
        "pipelines.sweep_rates",
        "main",
        "Train an image tokenizer and a prior for each of several rate weights, and draw bytes against quality.",
    ),
    "card": Entry(
        "pipelines.card_command", "main", "Write the card of an image tokenizer or a bundle from what was measured."
    ),
    "push": Entry(
        "pipelines.push",
        "main",
        "Put an image tokenizer, a dataset of codes, a bundle or a Space on the Hub, with a card.",
    ),
    "serve": Entry(
        "pipelines.serve", "main", "Draw pictures for others: an HTTP server in the form of the OpenAI API."
    ),
    "app": Entry(
        "pipelines.app", "main", "Show a bundle as a web page: draw, look at symbols, complete, caption and compress."
    ),
    "generate": Entry("pipelines.draw_commands", "generate", "Draw pictures from words."),
    "complete": Entry("pipelines.draw_commands", "complete", "Keep a part of pictures and draw the rest anew."),
    "caption": Entry("pipelines.draw_commands", "caption", "Write captions for pictures."),
    "compress": Entry("pipelines.compress_commands", "compress", "Compress pictures into one file."),
    "decompress": Entry("pipelines.compress_commands", "decompress", "Read the pictures of a compressed file."),
    "info": Entry(
        "pipelines.compress_commands",
        "info",
        "Say what is in a compressed file, or who drew a picture; needs no model.",
    ),
    "count-codes": Entry(
        "pipelines.compress_commands",
        "count_codes",
        "Count a dataset of codes into a bundle, for compression with --static.",
    ),
    "evaluate": Entry(
        "pipelines.evaluate_commands",
        "app",
        "Score an image tokenizer, or what a bundle has learned: its rate, classes, captions and names.",
    ),
    "symbols": Entry(
        "pipelines.symbols_commands",
        "app",
        "Look at the symbols of an image tokenizer: do they cluster, what do they mean?",
    ),
}
"""Subcommands in the order of the help."""


def load(name: str) -> Any:
    """The subcommand as typer's own object, imported now."""
    package = __package__ or "pictogram"
    # Settings that must come before torch, and the task of transformers.
    importlib.import_module(f"{package}.pipelines")
    entry = COMMANDS[name]
    found = getattr(importlib.import_module(f"{package}.{entry.module}"), entry.name)
    if not isinstance(found, typer.Typer):
        function, found = found, new_app()
        found.command(name)(function)
    return typer.main.get_command(found)


class LazyGroup(TyperGroup):
    """Its commands are stubs with a line of help, until one is to run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The subcommand that the first argument names, in place of its stub."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            command = load(name)
            quiet_libraries()
        return name, command, rest


def _stub() -> None: ...


def _new_root() -> typer.Typer:
    root = new_app("Images as a discrete language for transformers. Start with: pictogram demo", LazyGroup)
    for name, entry in COMMANDS.items():
        register: Callable[..., Any] = root.command(name, help=entry.summary)
        register(_stub)
    return root


app = _new_root()


def main() -> None:
    """Entry point of the `pictogram` command."""
    run_app(app)


if __name__ == "__main__":
    main()
