"""Adapting a trained image tokenizer to new pictures, restricted to the symbols that they invoke or need.

Example:
    pictogram adapt --from image-tokenizer --data new/ --reference old/ --mode symbols --output adapted-tokenizer
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..hub.command_line import command, run_command, table_console
from ..hub.errors import InputError
from ..hub.files import atomic_files, write_json
from .adaptation import AdaptationPictures, adapt_tokenizer, adaptable, prepare_adaptation
from .adaptation_config import AdaptationConfig
from .devices import default_device
from .image_processor import ImageTokenizerImageProcessorPil
from .images import Failure
from .loading import load_image_tokenizer
from .pixel_dataset import PixelDataset, load_pixels
from .progress import progress_bar
from .training_provenance import learned_from, tokenizer_provenance

REPORT_FILE = "adaptation.json"
"""Beside the tokenizer's files; it is written last."""


def run_adaptation(config: AdaptationConfig) -> dict[str, Any]:
    """Adapts a tokenizer, saves it in `config.output`, and returns the report.

    Raises:
        InputError: unusable data, settings or tokenizer, a provenance that is another model's, or an output folder that
            holds something.
        RuntimeError: something moved that the mode promises to leave as it is; nothing is saved then.
    """
    output = Path(config.output).expanduser()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{config.output} exists already: an adapted tokenizer needs a folder of its own")
    loaded = load_image_tokenizer(config.start_from)
    earlier = loaded.history()
    model = adaptable(loaded.model, config.start_from)
    config.new_counts(model.config.codebook_sizes)
    pictures, failures = _pictures(config, loaded.processor)
    data = learned_from(config.data, config.split, pictures.new)
    prepared = prepare_adaptation(model.to(default_device()), loaded.processor, pictures, config)  # pyright: ignore[reportArgumentType]
    adapted = adapt_tokenizer(prepared, config)
    report = {
        "output": config.output,
        **adapted.report.to_dict(),
        "settings": asdict(config),
        "failures": [asdict(failure) for failure in failures],
    }
    settings = config.settings() | {"start": [each[:16] for each in loaded.fingerprints.values()]}
    made = tokenizer_provenance(adapted.model, loaded.processor, data=data, settings=settings, earlier=earlier)
    with atomic_files(output) as folder:
        adapted.model.save_pretrained(folder)
        loaded.processor.save_pretrained(folder)
        made.save(folder)
    write_json(output / REPORT_FILE, report)
    return report


def _pictures(
    config: AdaptationConfig, processor: ImageTokenizerImageProcessorPil
) -> tuple[AdaptationPictures, list[Failure]]:
    """The four sets; a set that is asked for twice is read once."""
    opened: dict[tuple[str, str], PixelDataset] = {}
    failures: list[Failure] = []

    def read(data: str, split: str) -> PixelDataset:
        if (data, split) not in opened:
            with progress_bar("read", None) as advance:
                opened[data, split], found = load_pixels(data, split, processor, advance)
            failures.extend(found)
        return opened[data, split]

    sets = AdaptationPictures(
        new=read(config.data, config.split),
        old=read(config.reference, config.reference_split),
        measured_new=read(config.data, config.measured_split or config.split),
        measured_old=read(config.reference, config.measured_split or config.reference_split),
    )
    return sets, failures


def print_adaptation(report: dict[str, Any]) -> None:
    """Prints what `run_adaptation` returns, on standard output: a table of the levels and one of the pictures."""
    console = table_console()
    names = [
        "level",
        "codes",
        "invoked",
        "moved",
        "by, of the distance",
        "kept rows",
        "old use of them",
        "same old codes",
    ]
    table = Table(*names, box=SIMPLE_HEAD)
    for number, level in enumerate(report["levels"]):
        move = level["mean_move"]
        table.add_row(
            str(number),
            f"{level['codes_before']} + {level['grown']}",
            str(level["invoked"]),
            str(level["moved"]),
            "" if move is None else f"{move / level['row_distance']:.2f}",
            f"{level['kept']}, {_same(level['kept_sha256_before'], level['kept_sha256_after'])}",
            f"{level['old_use_of_kept']:.1%}",
            f"{level['same_codes']:.1%}",
        )
    console.print(table)
    console.print(_pictures_table(report))
    for part in ("encoder", "decoder"):
        found = _same(report[f"{part}_sha256_before"], report[f"{part}_sha256_after"])
        console.print(f"{part}: {found}", highlight=False)
    alike = "bit-identical" if report["old_codes_decode_alike"] else "other"
    console.print(f"old codes decode to {alike} pictures", highlight=False)
    changed = f"{report['numbers_changed']} of {report['numbers']} numbers changed ({report['share_changed']:.2%})"
    console.print(f"{changed}: {report['output']}", highlight=False, markup=False, soft_wrap=True)


def _pictures_table(report: dict[str, Any]) -> Table:
    table = Table("pictures", "PSNR before", "after", "bits before", "after", box=SIMPLE_HEAD)
    for name in ("new", "old"):
        change = report[name]
        psnr = [_decibels(change[f"psnr_{when}"][-1]) for when in ("before", "after")]
        bits = [f"{sum(change[f'static_bits_{when}']):.1f}" for when in ("before", "after")]
        table.add_row(name, *psnr, *bits)
    return table


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} dB"


def _same(before: str, after: str) -> str:
    return "bit-identical" if before == after else "changed"


main = command(
    AdaptationConfig,
    run_adaptation,
    "adapt",
    """Adapt a trained image tokenizer to new pictures by few of its symbols, so that the old ones hardly notice.

    Example: pictogram adapt --from image-tokenizer --data new/ --reference old/ --mode grow --output adapted
    """,
    show=print_adaptation,
)

if __name__ == "__main__":
    run_command(main)
