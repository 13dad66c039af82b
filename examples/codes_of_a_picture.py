"""Turn a picture into codes, look at the codes, and decode every prefix of levels.

python examples/codes_of_a_picture.py pictogram-demo/image-tokenizer reconstruction.png
"""

import sys

from pictogram import ImageTokenizer, ImageTokenizerImageProcessorPil, load_embedded
from pictogram.tokenizer.pictures import reconstruction_grid, save_picture


def main(image_tokenizer: str, output: str) -> None:
    """Encodes four held-out pictures and saves them beside their decodings."""
    tokenizer = ImageTokenizer.from_pretrained(image_tokenizer).eval()
    processor = ImageTokenizerImageProcessorPil.from_pretrained(image_tokenizer)
    pictures = load_embedded()["test"][:4]["image"]

    pixel_values = processor(pictures, return_tensors="pt")["pixel_values"]  # (4, 3, 32, 32) in [-1, 1]
    codes = tokenizer.encode(pixel_values)
    for level, grid in enumerate(codes):
        rows, columns = grid.shape[1:]
        print(f"level {level}, {rows}x{columns} codes; the first picture's: {grid[0].flatten().tolist()}")
    save_picture(reconstruction_grid(tokenizer, pixel_values), output)


if __name__ == "__main__":
    main(*sys.argv[1:])
