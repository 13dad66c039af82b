"""The same pictures in fewer and fewer bytes: levels of codes left out, and drawn by the prior.

python examples/compressed_pictures.py BUNDLE zalando-datasets/fashion_mnist compressed.png
"""

import sys
from typing import Any

from pictogram import ImageCodec
from pictogram.tokenizer.images import load_image_source
from pictogram.tokenizer.pictures import picture_grid, save_picture


def main(bundle: str, data: str, output: str, split: str = "test", count: str = "12") -> None:
    """A row of originals, then for each number of levels a row without the others and one with others drawn."""
    codec, source = ImageCodec.from_pretrained(bundle), load_image_source(data, split)
    pictures = [source.read(row) for row in range(min(int(count), len(source)))]
    rows, titles = [pictures], [["original"] * len(pictures)]
    num_levels = len(codec.squares.grids)
    for kept in range(num_levels, 0, -1):
        file = codec.compress(pictures, num_levels=kept)
        size = f"{file.payload_bytes / len(pictures):.1f} bytes"
        print(f"{kept} levels: {size} a picture, {len(file.data)} in the file")
        for rest in ("left out", "drawn")[: 1 + (kept < num_levels)]:
            options: dict[str, Any] = {"rest": rest, "seed": 0}
            rows.append(codec.decompress(file.data, **options).images)
            titles.append([size if rest == "left out" else f"{size}, drawn"] * len(pictures))
    save_picture(picture_grid(rows, titles=titles, cell=72), output)


if __name__ == "__main__":
    main(*sys.argv[1:])
