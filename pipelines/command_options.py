"""Command-line options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..hub.command_line import OUTPUT_FLAGS
from ..hub.errors import InputError

Model = Annotated[str, typer.Option(help="Bundle: a folder, owner/name on the Hub, or the shipped noto or fashion.")]
Split = Annotated[str, typer.Option(help="Split to score.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Guidance = Annotated[float, typer.Option(help="1 draws as the model does; more follows the words more closely.")]
Temperature = Annotated[float, typer.Option(help="Below 1 prefers likely tokens; 0 takes the most likely ones.")]
ModelsTemperature = Annotated[
    float | None,
    typer.Option(help="Below 1 prefers likely codes; 0 takes the most likely ones. The model's own unless told."),
]
ModelsTopK = Annotated[
    int | None, typer.Option(help="Draw from the k most likely codes only; 0 from all. The model's own unless told.")
]
ModelsTopP = Annotated[
    float | None,
    typer.Option(
        help="Draw from the most likely codes that hold this share of the chances. The model's own unless told."
    ),
]
TopK = Annotated[int, typer.Option(help="Draw from the k most likely tokens only; 0 from all.")]
TopP = Annotated[float, typer.Option(help="Draw from the most likely tokens that hold this share of the chances.")]
Codes = Annotated[str, typer.Option(help="Dataset of codes: a folder, or its name on the Hub.")]
MaxImages = Annotated[int | None, typer.Option(help="Most pictures of a split, drawn by a fixed seed.")]
JsonFile = Annotated[Path | None, typer.Option(*OUTPUT_FLAGS, help="JSON file for the result as well.")]
Card = Annotated[
    bool, typer.Option("--card", help="Keep the result in the model's folder as well, where its card finds it.")
]
License = Annotated[str, typer.Option("--license", help="For the card: license of the model, such as apache-2.0.")]
DataLicense = Annotated[str, typer.Option(help="For the card: license of what it learned from, in words.")]
Datasets = Annotated[
    list[str] | None, typer.Option("--dataset", help="For the card: name on the Hub of what it learned from; repeat.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def png_path(path: Path, option: str) -> str:
    """The path of a picture that is to be written.

    Raises:
        InputError: it does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"{option} must end in .png, got {path}")
    return str(path)
