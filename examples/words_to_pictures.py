"""Draw pictures from words with a trained bundle, and write captions for them.

python examples/words_to_pictures.py pictogram-demo/bundle words.png
"""

import sys

from pictogram import ImageToTextPipeline, TextToImagePipeline


def main(bundle: str, output: str) -> None:
    """Draws four pictures of one prompt, captions them, and saves the first."""
    draw = TextToImagePipeline.from_pretrained(bundle)
    drawn = draw("red apple", num_images=4, seed=0)
    for image, bits in zip(drawn.images, drawn.bits.tolist(), strict=True):
        print(f"a picture of {image.width}x{image.height} pixels that cost {bits:.1f} bits")
    drawn.images[0].save(output)

    describe = ImageToTextPipeline(draw.bundle)
    for caption in describe(drawn.images).captions:
        print(f"the model reads it as: {caption}")


if __name__ == "__main__":
    main(*sys.argv[1:])
