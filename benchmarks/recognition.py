"""Is each reconstruction nearest to its own original? With PSNR per group, failures by name, and the hardest pictures.

python benchmarks/recognition.py --model MODEL --data DATA --splits test --group style --picture hardest.png

The reconstructions of all splits look for their originals among the pictures of all splits together, by squared error
of 8-bit values. An original that another picture equals exactly counts as found: nothing could tell the two apart.
"""

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain

import torch
from PIL import Image

from pictogram.hub.errors import InputError
from pictogram.tokenizer.distortion import mean_squared_error, psnr
from pictogram.tokenizer.image_processor import to_images
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.pictures import picture_grid, save_picture
from pictogram.tokenizer.pixel_dataset import PixelDataset, load_pixels
from pictogram.tokenizer.reconstructions import over_contents, reconstruct


@dataclass(frozen=True, eq=False)
class Pictures:
    """All pictures of one split, and their reconstructions from all levels.

    Attributes:
        split: its name.
        names: a caption each.
        groups: the value of the column to group by, each; empty without one.
        originals: (N, C, H, W) whole numbers 0..255, float32.
        reconstructions: the same.
        errors: (N,) mean squared errors, without the padding.
    """

    split: str
    names: list[str]
    groups: list[str]
    originals: torch.Tensor
    reconstructions: torch.Tensor
    errors: torch.Tensor


def read(model: str, data: str, split: str, group: str) -> Pictures:
    """Encodes and decodes one split."""
    loaded = load_image_tokenizer(model)
    dataset, _ = load_pixels(data, split, loaded.processor)
    batches = list(reconstruct(loaded.model, dataset))
    decoded = [batch.prefixes[-1] for batch in batches]
    if any(pixels is None for pixels in decoded):
        raise InputError(f"{model} does not decode")
    kept = [pixels for pixels in decoded if pixels is not None]
    pairs = zip(batches, kept, strict=True)
    errors = [over_contents(batch.boxes, mean_squared_error, batch.original, pixels) for batch, pixels in pairs]
    return Pictures(
        split,
        [dataset.source.captions(row)[0] for row in range(len(dataset))],
        group_names(dataset, group) if group else [],
        torch.cat([batch.original for batch in batches]),
        torch.cat(kept),
        torch.cat(errors),
    )


def group_names(dataset: PixelDataset, column: str) -> list[str]:
    """The column's value of every row, class labels by name."""
    rows = dataset.source.dataset
    if column not in rows.features:
        raise InputError(f"no column {column!r} to group by; there are {', '.join(rows.features)}")
    names = getattr(rows.features[column], "names", None)
    return [names[value] if names else str(value) for value in rows[column]]


def ranks(reconstructions: torch.Tensor, originals: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """(N,) int64: how many originals are strictly nearer to each reconstruction than its own, `own` being its row."""
    found = []
    flat = originals.flatten(1).double()
    for first in range(0, len(reconstructions), 64):
        block = reconstructions[first : first + 64].flatten(1).double()
        # Whole numbers up to 255^2 * C * H * W: exact in float64, so equal pictures are equally near.
        distance = block.square().sum(1, keepdim=True) - 2 * block @ flat.T + flat.square().sum(1)  # (b, N)
        mine = distance.gather(1, own[first : first + 64, None])
        found.append((distance < mine).sum(1))
    return torch.cat(found)


def report(splits: list[Pictures]) -> dict[str, object]:
    """Figures per split, PSNR per group, failures."""
    originals = torch.cat([pictures.originals for pictures in splits])
    result, failures, start = {}, [], 0
    for pictures in splits:
        own = torch.arange(start, start + len(pictures.names))
        start += len(pictures.names)
        rank = ranks(pictures.reconstructions, originals, own)
        by_group = defaultdict(list)
        for name, error in zip(pictures.groups, pictures.errors.tolist(), strict=False):
            by_group[name].append(error)
        result[pictures.split] = {
            "num_images": len(pictures.names),
            "recognised": float((rank == 0).double().mean()),
            "psnr": psnr(float(pictures.errors.mean())),
            "psnr_by_group": {name: psnr(sum(e) / len(e)) for name, e in sorted(by_group.items())},
        }
        missed = rank.nonzero().squeeze(1).tolist()
        failures += [{"split": pictures.split, "row": row, "name": pictures.names[row]} for row in missed]
    return {"candidates": len(originals), "splits": result, "failures": failures}


def hardest_grid(splits: list[Pictures], most: int = 32) -> Image.Image:
    """Original and reconstruction of the pictures with the greatest error of all splits, worst first."""
    places = [(split, row) for split, pictures in enumerate(splits) for row in range(len(pictures.names))]
    worst = torch.cat([pictures.errors for pictures in splits]).argsort(descending=True, stable=True)[:most].tolist()
    shown = [(splits[places[place][0]], places[place][1]) for place in worst]
    pairs = [[as_image(p.originals[row]), as_image(p.reconstructions[row])] for p, row in shown]
    titles = [[p.names[row], f"{psnr(float(p.errors[row])):.1f} dB"] for p, row in shown]
    width = 4  # pairs in a line
    lines = range(0, len(pairs), width)
    return picture_grid(
        [list(chain(*pairs[line : line + width])) for line in lines],
        titles=[list(chain(*titles[line : line + width])) for line in lines],
    )


def as_image(values: torch.Tensor) -> Image.Image:
    """(C, H, W) whole numbers 0..255 -> a picture."""
    return to_images(values[None] / 127.5 - 1)[0]


def run(arguments: argparse.Namespace) -> None:
    names = arguments.splits.split(",")
    splits = [read(arguments.model, arguments.data, split.strip(), arguments.group) for split in names]
    result = report(splits)
    if arguments.picture:
        save_picture(hardest_grid(splits), arguments.picture)
    print(json.dumps(result, indent=1, ensure_ascii=False))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of an image tokenizer")
    parser.add_argument("--data", required=True, help="pictures, as every command takes them")
    parser.add_argument("--splits", default="test", help="comma-separated")
    parser.add_argument("--group", default="", help="column to report PSNR by")
    parser.add_argument("--picture", help="PNG file for the pictures with the greatest error")
    try:
        run(parser.parse_args(argv))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
