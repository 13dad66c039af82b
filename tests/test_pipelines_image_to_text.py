from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_chain import bundle, bundle_folder, output_weights, pictures, prior, processor, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.lm.documents import image_to_text, images_to_ids
from pictogram.lm.vocabulary import JointVocabulary
from pictogram.pipelines.image_to_text import ImageToTextOutput, ImageToTextPipeline
from pictogram.pipelines.picture_input import open_picture
from pictogram.tokenizer.fingerprints import codes_fingerprint

RED = (200, 40, 30)


@pytest.fixture
def pipeline() -> ImageToTextPipeline:
    return ImageToTextPipeline(shared_bundle())


def files(count: int) -> list[str]:
    return [str(path) for path in sorted(pictures().glob("*.png"))[:count]]


def test_paths_and_opened_pictures_give_the_same_captions(pipeline: ImageToTextPipeline):
    paths = files(4)
    from_paths = pipeline(paths)
    assert len(from_paths.captions) == len(from_paths.bits) == 4
    assert pipeline([Path(path) for path in paths]).captions == from_paths.captions
    assert pipeline([Image.open(path) for path in paths]).captions == from_paths.captions
    assert pipeline(paths[1]).captions == from_paths.captions[1:2]
    assert pipeline(Image.open(paths[1])).captions == from_paths.captions[1:2]


def test_a_caption_is_the_same_in_any_company(pipeline: ImageToTextPipeline):
    paths = files(5)
    together = pipeline(paths, temperature=1.0, seed=3)
    assert pipeline(paths, temperature=1.0, seed=3, batch_size=2).captions == together.captions
    for index, path in enumerate(paths):
        alone = pipeline(path, temperature=1.0, seed=3 + index)
        assert alone.captions == together.captions[index : index + 1]
        torch.testing.assert_close(alone.bits[0], together.bits[index], rtol=1e-5, atol=1e-3)
    assert pipeline(paths, temperature=1.0, seed=90).captions != together.captions


def reference_bits(pipeline: ImageToTextPipeline, path: str, caption_ids: list[int]) -> float:
    """-log2 p of the caption and its end, when only text and `<eos>` can come."""
    bundle = pipeline.bundle
    vocabulary = bundle.vocabulary
    codes = bundle.image_tokenizer.encode(bundle.image_processor(Image.open(path), return_tensors="pt")["pixel_values"])
    ids = images_to_ids(vocabulary, codes)[0]
    document = image_to_text(vocabulary, ids, caption_ids, "2x2")
    allowed = torch.tensor([*vocabulary.text_range, vocabulary.eos_id])
    with torch.no_grad():
        logits = bundle.prior(torch.tensor([document])).logits[0, :-1].double()
    nats = [
        logits[place, allowed].logsumexp(0) - logits[place, document[place + 1]]
        for place in range(len(ids) + 2, len(document) - 1)
    ]
    return float(torch.stack(nats).sum() / np.log(2))


def test_a_caption_is_text_and_its_bits_count_text_and_the_end_only(pipeline: ImageToTextPipeline):
    paths = files(16)
    output = pipeline(paths, temperature=1.0, max_new_tokens=40)
    checked = 0
    for path, caption, bits in zip(paths, output.captions, output.bits, strict=True):
        ids = pipeline.bundle.text_tokenizer.encode(caption)
        spent = reference_bits(pipeline, path, ids)
        if "\ufffd" not in caption and len(ids) < 40 and abs(spent - float(bits)) < 1e-2:
            checked += 1
    assert checked > 0


def test_no_other_picture_starts_inside_a_caption():
    bundle = shared_bundle()
    model = prior(bundle.vocabulary)
    with torch.no_grad():  # a model that would rather draw one more picture than anything else
        head = output_weights(model)
        head.zero_()
        head[bundle.vocabulary.image_start_id("2x2")] = 50
        head[bundle.vocabulary.null_id] = -50
    output = ImageToTextPipeline(replace(bundle, prior=model))(files(2), max_new_tokens=7, temperature=1.0)
    each = np.log2(len(bundle.vocabulary.text_range) + 1)
    lengths = output.bits.numpy() / each
    np.testing.assert_allclose(lengths, lengths.round(), atol=1e-4)
    assert lengths.min() >= 1


def picture(mode: str, size: tuple[int, int] = (16, 16)) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.full(size[::-1], 30000, dtype=np.uint16))
    return Image.new("RGB", size, RED).convert(mode)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("size", [(16, 16), (33, 7), (1, 1)])
def test_pictures_of_any_mode_and_size(pipeline: ImageToTextPipeline, tmp_path, mode: str, size: tuple[int, int]):
    image = picture(mode, size)
    output = pipeline(image)
    assert len(output.captions) == 1
    suffix = "tif" if mode in ("F", "CMYK") else "png"
    image.save(tmp_path / f"picture.{suffix}")
    assert pipeline(tmp_path / f"picture.{suffix}").captions == output.captions


def test_transparency_shows_the_background_of_the_processor():
    see_through = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    bundle = shared_bundle()
    black = processor()
    black.background = (0, 0, 0)  # pyright: ignore[reportAttributeAccessIssue]
    pipeline = ImageToTextPipeline(replace(bundle, image_processor=black))
    shown = pipeline._prompts([Image.new("RGB", (16, 16), (0, 0, 0))])
    assert pipeline._prompts([open_picture(see_through, black.background_colour)]) == shown
    assert pipeline(see_through).captions == pipeline(Image.new("RGB", (16, 16))).captions


def test_native_sizes_may_be_mixed():
    base = shared_bundle()
    native = processor()
    native.do_resize = False
    sizes = [((1, 1), (2, 2)), ((1, 1), (1, 3))]
    vocabulary = JointVocabulary.from_scratch(
        base.text_tokenizer.vocab_size, [6, 9], sizes, codes_fingerprint=codes_fingerprint(base.image_tokenizer, native)
    )
    bundle = replace(base, prior=prior(vocabulary), vocabulary=vocabulary, image_processor=native)
    pipeline = ImageToTextPipeline(bundle)
    images = [Image.new("RGB", (16, 16), RED), Image.new("RGB", (24, 8), RED), Image.new("RGB", (16, 16))]
    output: ImageToTextOutput = pipeline(images)
    assert output.captions == [pipeline(image).captions[0] for image in images]
    with pytest.raises(InputError, match="multiples of 8 pixels"):
        pipeline([*images, Image.new("RGB", (16, 15))])
    with pytest.raises(InputError, match="are not in the vocabulary"):
        pipeline(Image.new("RGB", (8, 8)))


def test_the_longest_caption_fits_the_context(pipeline: ImageToTextPipeline):
    assert pipeline(files(1), max_new_tokens=1).captions[0] is not None
    with pytest.raises(InputError, match="but the model has 64"):
        pipeline(files(1), max_new_tokens=60)
    short = ImageToTextPipeline(bundle(max_length=12))  # the prompt alone takes 8
    assert len(short(files(2), temperature=1.0).captions) == 2


def test_from_pretrained_loads_a_folder(pipeline: ImageToTextPipeline):
    assert ImageToTextPipeline.from_pretrained(bundle_folder())(files(1)).captions == pipeline(files(1)).captions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": []}, "at least one picture is expected, got none"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"seed": -5, "temperature": 1.0}, "seeds must be 0 or more"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(pipeline: ImageToTextPipeline, options, message: str):
    with pytest.raises(InputError, match=message):
        pipeline(**{"images": files(1), **options})


def test_files_that_cannot_be_read_are_named(pipeline: ImageToTextPipeline, tmp_path):
    good = Path(files(1)[0]).read_bytes()
    for name, content, reason in [
        ("text.png", b"no picture", "not a picture PIL can read"),
        ("empty.png", b"", "empty file"),
        ("cut.png", good[: len(good) // 2], ""),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} cannot be read as a picture: .*{reason}"):
            pipeline([files(1)[0], str(tmp_path / name)])
    for nothing in (tmp_path / "nowhere.png", tmp_path):
        with pytest.raises(InputError, match="cannot be read as a picture: it is not a file"):
            pipeline(nothing)
    with pytest.raises(InputError, match="cannot be read as a picture"):
        pipeline(Image.open(tmp_path / "cut.png"))
