"""`pictogram symbols`: what the codes of an image tokenizer stand for, and whether they stand for anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..hub.command_line import OUTPUT_FLAGS, new_app, print_result, table_console, whole_numbers
from .command_options import Json, Model, Seed, Split
from .curve_plot import check_plotting
from .emergence_plot import plot_emergence
from .retention_command import retention
from .symbol_atlas import AtlasSettings, symbol_atlas
from .symbol_clusters import ClusterEvaluation, evaluate_clusters
from .symbol_emergence import EmergenceEvaluation, evaluate_emergence
from .symbol_illustration import check_illustrating, illustrate
from .symbol_naming import NamingEvaluation, evaluate_naming
from .symbol_samples import samples

app = new_app("Look at the symbols of an image tokenizer: do they cluster, what do they mean?")

app.command("retention")(retention)
app.command("samples")(samples)

Tokenizers = Annotated[
    list[str] | None,
    typer.Option("--model", help="Folder of an image tokenizer, or its name; again for tokenizers of other seeds."),
]
Data = Annotated[str, typer.Option(help='"embedded", a folder of images, parquet, or any `datasets` name.')]


@app.command("clusters")
def clusters_command(
    model: Tokenizers = None,
    data: Data = "embedded",
    split: Split = "test",
    num_clusters: Annotated[int, typer.Option(help="Clusters of k-means.")] = 10,
    max_images: Annotated[int, typer.Option(help="Most pictures, drawn by the seed.")] = 10_000,
    num_draws: Annotated[int, typer.Option(help="Draws of points, and of Gaussians like them.")] = 20,
    points_per_draw: Annotated[int, typer.Option(help="Most points of a draw.")] = 2000,
    seed: Seed = 0,
    output: Annotated[
        Path | None, typer.Option(*OUTPUT_FLAGS, help="Folder for clusters.json and a t-SNE picture of each level.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Whether the latents of each level cluster, beside one Gaussian with their mean and covariance.

    Example: pictogram symbols clusters --model pictogram-demo/image-tokenizer --data embedded --out clusters
    """
    what = ClusterEvaluation(
        models=model or ["image-tokenizer"],
        data=data,
        split=split,
        num_clusters=num_clusters,
        max_images=max_images,
        num_draws=num_draws,
        points_per_draw=points_per_draw,
        seed=seed,
    )
    if output is not None:
        check_illustrating()
    report = evaluate_clusters(what, output)
    if output is not None:
        illustrate(what, output)
    if json_output:
        print_result(report, json_output)
    else:
        print_clusters(report)


@app.command("atlas")
def atlas_command(
    model: Annotated[
        str, typer.Option(help="Image tokenizer, or a bundle, whose prior then says words as well; folder or name.")
    ] = "image-tokenizer",
    data: Data = "embedded",
    split: Annotated[str, typer.Option(help="Split to look at.")] = "train",
    max_images: Annotated[int, typer.Option(help="Most pictures, drawn by the seed.")] = 10_000,
    max_symbols: Annotated[int, typer.Option(help="Most symbols of a level, the most used ones.")] = 1024,
    num_examples: Annotated[int, typer.Option(help="Nearest pictures of a symbol.")] = 8,
    num_swaps: Annotated[int, typer.Option(help="Symbols that take its place.")] = 3,
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(*OUTPUT_FLAGS, help="Folder for the page.")] = Path("atlas"),
    json_output: Json = False,
) -> None:
    """One page with every symbol: what it decodes to, nearest pictures, words, neighbours, what it changes.

    The folder is a static Space of the Hub as it is.

    Example: pictogram symbols atlas --model pictogram-demo/bundle --data embedded --out atlas
    """
    settings = AtlasSettings(
        model=model,
        data=data,
        split=split,
        max_images=max_images,
        max_symbols=max_symbols,
        num_examples=num_examples,
        num_swaps=num_swaps,
        seed=seed,
    )
    print_result(symbol_atlas(settings, output), json_output)


@app.command("emergence")
def emergence_command(
    model: Tokenizers = None,
    data: Data = "embedded",
    split: Split = "test",
    reference_split: Annotated[
        str, typer.Option(help="Split that k-means and the names of codes come from.")
    ] = "train",
    codebook_sizes: Annotated[str, typer.Option(help="Clusters, with commas.")] = "10,32,64,128,256,512",
    label_column: Annotated[
        str | None, typer.Option(help="Column with the classes, labels or texts; by default the first of labels.")
    ] = None,
    max_images: Annotated[int | None, typer.Option(help="Most pictures of a split, drawn by the seed.")] = None,
    num_seeds: Annotated[int, typer.Option(help="Runs of each clustering.")] = 3,
    num_starts: Annotated[int, typer.Option(help="Tries of a run; the one with the least error counts.")] = 3,
    seed: Seed = 0,
    output: Annotated[
        Path | None, typer.Option(*OUTPUT_FLAGS, help="Folder for emergence.json and a plot of information by bits.")
    ] = None,
    json_output: Json = False,
) -> None:
    """What the whole-image code tells of classes that nobody told it, beside clusters at as many codes.

    Example: pictogram symbols emergence --model image-tokenizer --data zalando-datasets/fashion_mnist --out emergence
    """
    what = EmergenceEvaluation(
        models=model or ["image-tokenizer"],
        data=data,
        split=split,
        reference_split=reference_split,
        codebook_sizes=whole_numbers("codebook_sizes", codebook_sizes),
        label_column=label_column,
        max_images=max_images,
        num_seeds=num_seeds,
        num_starts=num_starts,
        seed=seed,
    )
    if output is not None:
        check_plotting()
    report = evaluate_emergence(what, output)
    if output is not None:
        plot_emergence(report, output / "emergence.png")
    if json_output:
        print_result(report, json_output)
    else:
        print_emergence(report)


@app.command("names")
def names_command(
    model: Model = "bundle",
    data: Data = "embedded",
    split: Split = "test",
    reference_split: Annotated[str, typer.Option(help="Split that holds the labelled pictures.")] = "train",
    labels_per_class: Annotated[str, typer.Option(help="How many of them, with commas.")] = "1,5,20,50",
    max_images: Annotated[int, typer.Option(help="Most pictures of a split, drawn by the seed.")] = 2000,
    num_draws: Annotated[int, typer.Option(help="Draws of the labelled pictures.")] = 5,
    seed: Seed = 0,
    output: Annotated[Path | None, typer.Option(*OUTPUT_FLAGS, help="Folder for naming.json.")] = None,
    json_output: Json = False,
) -> None:
    """How few labelled pictures name the symbols that emerged without labels, beside k-means and linear probes.

    Example: pictogram symbols names --model bundle --data zalando-datasets/fashion_mnist
    """
    what = NamingEvaluation(
        model=model,
        data=data,
        split=split,
        reference_split=reference_split,
        labels_per_class=whole_numbers("labels_per_class", labels_per_class),
        max_images=max_images,
        num_draws=num_draws,
        seed=seed,
    )
    report = evaluate_naming(what, output)
    if json_output:
        print_result(report, json_output)
    else:
        print_naming(report)


def print_naming(report: dict[str, Any]) -> None:
    """Prints what `evaluate_naming` returns, on standard output: a row a method, a column a number of labels."""
    counts = [str(count) for count in report["protocol"]["labels_per_class"]]
    table = Table("accuracy with so many labels a class", *counts, box=SIMPLE_HEAD)
    for method in dict.fromkeys(entry["method"] for entry in report["summary"]):
        entries = [entry for entry in report["summary"] if entry["method"] == method]
        table.add_row(method, *(_with_spread(entry["accuracy"], entry["spread"]) for entry in entries))
    table_console().print(table)


def print_emergence(report: dict[str, Any]) -> None:
    """Prints what `evaluate_emergence` returns, on standard output: one line a method and size."""
    columns = ["bits", "information", "held_out_information", "majority_vote", "nmi", "ari", "accuracy"]
    table = Table("method", "K", "runs", *(name.replace("_", " ") for name in columns), box=SIMPLE_HEAD)
    for entry in report["summary"]:
        cells = [_with_spread(entry["mean"][name], entry["spread"][name]) for name in columns]
        table.add_row(entry["method"], str(entry["codebook_size"]), str(entry["num_runs"]), *cells)
    console = table_console()
    console.print(table)
    console.print(f"the classes themselves take {report['class_entropy']:.2f} bits", highlight=False)


def _with_spread(value: float, spread: float | None) -> str:
    return f"{value:.3f}" if spread is None else f"{value:.3f} +- {spread:.3f}"


def print_clusters(report: dict[str, Any]) -> None:
    """Prints what `evaluate_clusters` returns, on standard output: a table and a verdict a level."""
    console = table_console()
    for name, levels in report["models"].items():
        for number, level in enumerate(levels):
            title = f"{name}, level {number}, {level['codes_in_use']} codes in use: {level['verdict']}"
            console.print(title, markup=False, highlight=False)
            table = Table("statistic", "latents", "95 %", "Gaussian", "95 %", "z", box=SIMPLE_HEAD)
            for statistic, value in level["statistics"].items():
                table.add_row(
                    statistic,
                    f"{value['points']:.3f}",
                    f"{value['low']:.3f} to {value['high']:.3f}",
                    f"{value['gaussian']:.3f}",
                    f"{value['gaussian_low']:.3f} to {value['gaussian_high']:.3f}",
                    f"{value['z']:+.1f}",
                )
            console.print(table)
            for reason in level["reasons"]:
                console.print(f"- {reason}", markup=False, highlight=False)
    for pair in report["agreement"]:
        levels = ", ".join(f"{level['codes']:.2f} / {level['clusters']:.2f}" for level in pair["levels"])
        console.print(f"{' and '.join(pair['models'])} agree, codes / clusters, level by level: {levels}", markup=False)
