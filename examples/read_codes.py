"""Open a dataset of codes, deal its rows out, read a shuffled batch, and look at what the codes say.

python examples/read_codes.py pictogram-demo/codes pictogram-demo/image-tokenizer codes.png
"""

import sys

import torch

from pictogram import load_codes, load_image_tokenizer
from pictogram.tokenizer.pictures import picture_grid, save_picture


def main(folder: str, image_tokenizer: str, output: str) -> None:
    """Prints what is there and saves four pictures decoded from their codes."""
    tokenizer = load_image_tokenizer(image_tokenizer)
    codes = load_codes(folder, "train", tokenizer=tokenizer)  # refuses codes of another tokenizer
    parts = codes.split_by_key({"train": 0.9, "test": 0.1}, seed=0)  # by the hash of each key, so it never changes
    print(", ".join(f"{name}: {len(part)} rows" for name, part in parts.items()))

    order = torch.randperm(len(parts["train"]), generator=torch.Generator().manual_seed(0))
    for level, grid in enumerate(parts["train"].codes(order[:64].tolist())):  # one int64 (64, rows, columns) per level
        print(f"level {level}: {tuple(grid.shape)}, codes {int(grid.min())} to {int(grid.max())}")

    rows = range(min(4, len(parts["test"])))
    pictures = parts["test"].decode(rows, tokenizer)
    save_picture(picture_grid([pictures], titles=[[parts["test"].captions(row)[0] for row in rows]]), output)


if __name__ == "__main__":
    main(*sys.argv[1:])
