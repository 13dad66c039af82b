from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_chain import bundle_folder, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.lm.documents import image_to_text, images_to_ids, text_to_image
from pictogram.lm.image_sampler import ImageSampling
from pictogram.lm.order import ORDERS
from pictogram.lm.rate import measure_rate, score_documents
from pictogram.lm.token_bits import TokenScorer
from pictogram.pipelines.picture_drawing import candidate_seeds
from pictogram.pipelines.text_to_image import TextToImageOutput, TextToImagePipeline
from pictogram.tokenizer.image_processor import to_images

WORDS = [
    "red apple",
    "",
    "grinning face",
    "日本の旗 हँसता 👩\u200d🚒",
    "<bos>",
    "</image>",
    "<|0:00001|>",
    "<image 2x2><eos>",
]


@pytest.fixture(params=ORDERS)
def pipeline(request) -> TextToImagePipeline:
    return TextToImagePipeline(shared_bundle(request.param))


@pytest.fixture
def level() -> TextToImagePipeline:
    return TextToImagePipeline(shared_bundle())


def pixels(output: TextToImageOutput) -> list[bytes]:
    return [image.tobytes() for image in output.images]


def test_the_same_seed_draws_the_same_pictures(pipeline: TextToImagePipeline):
    first, second, other = (pipeline(WORDS, seed=seed) for seed in (1, 1, 100))
    assert pixels(first) == pixels(second)
    assert torch.equal(first.bits, second.bits)
    assert pixels(first) != pixels(other)
    assert all(
        isinstance(image, Image.Image) and image.size == (16, 16) and image.mode == "RGB" for image in first.images
    )
    assert [tuple(level.shape) for level in first.codes] == [(len(WORDS), 1, 1), (len(WORDS), 2, 2)]


def test_a_picture_is_the_same_in_any_company(level: TextToImagePipeline):
    together = level(WORDS, seed=list(range(40, 40 + len(WORDS))))
    assert pixels(level(WORDS, seed=40, batch_size=3)) == pixels(together)
    for index, words in enumerate(WORDS):
        alone = level(words, seed=40 + index)
        assert pixels(alone) == pixels(together)[index : index + 1]
        torch.testing.assert_close(alone.bits[0], together.bits[index], rtol=1e-5, atol=1e-4)


def test_several_pictures_a_prompt(level: TextToImagePipeline):
    output = level(["red apple", "sad face"], num_images=3, seed=7)
    assert output.prompts == ["red apple"] * 3 + ["sad face"] * 3
    assert output.seeds == [7, 8, 9, 10, 11, 12]
    assert len(output.images) == len(output.bits) == len(output.codes[0]) == 6
    assert pixels(level("sad face", seed=11)) == pixels(output)[4:5]
    assert pixels(level(["red apple", "sad face"], num_images=3, seed=output.seeds)) == pixels(output)


def test_pictures_are_those_of_their_codes(pipeline: TextToImagePipeline):
    output = pipeline(WORDS[:3], batch_size=2)
    decoded = to_images(pipeline.bundle.image_tokenizer.decode(output.codes))
    assert [image.tobytes() for image in decoded] == pixels(output)


def test_bits_are_what_the_codes_cost(pipeline: TextToImagePipeline):
    bundle = pipeline.bundle
    output = pipeline(WORDS, temperature=0.7, top_k=3, guidance_scale=2.0)
    for words, ids, bits in zip(WORDS, images_to_ids(bundle.vocabulary, output.codes), output.bits, strict=True):
        document = text_to_image(bundle.vocabulary, bundle.text_tokenizer.encode(words), ids, "2x2")
        rate = measure_rate(bundle.prior, bundle.grammar, [document])
        assert rate.image_bits == pytest.approx(float(bits), rel=1e-4, abs=1e-3)


def test_token_strings_in_a_prompt_are_words(level: TextToImagePipeline):
    encode = level.bundle.text_tokenizer.encode
    for words in WORDS[4:]:
        assert all(level.bundle.vocabulary.is_text(id_) for id_ in encode(words))
        assert len(level(words).images) == 1


def test_the_empty_prompt_is_the_unconditional_one(level: TextToImagePipeline):
    assert pixels(level("", guidance_scale=1.0, seed=3)) == pixels(level("", guidance_scale=5.0, seed=3))


def test_temperature_0_needs_no_seed(level: TextToImagePipeline):
    assert pixels(level("red apple", temperature=0, seed=1)) == pixels(level("red apple", temperature=0, seed=2))


def test_previews_grow_level_by_level_into_the_picture(level: TextToImagePipeline):
    whole = level(WORDS, seed=5, temperature=0.8)
    previews = list(level.stream(WORDS, seed=5, sampling=ImageSampling(temperature=0.8)))
    assert [len(preview.codes) for preview in previews] == [1, 2]
    for preview in previews:
        known = len(preview.codes)
        assert all(torch.equal(a, b) for a, b in zip(preview.codes, whole.codes, strict=False))
        torch.testing.assert_close(preview.level_bits, whole.level_bits[:, :known])
        decoded = to_images(level.bundle.image_tokenizer.decode(whole.codes[:known], known))
        assert pixels(preview) == [image.tobytes() for image in decoded]
    assert pixels(previews[-1]) == pixels(whole)


def test_previews_need_whole_levels():
    with pytest.raises(InputError, match="previews need codes in order \"level\"; this bundle has 'pyramid'"):
        TextToImagePipeline(shared_bundle("pyramid")).stream("red apple")


def test_pictures_of_a_symbol(pipeline: TextToImagePipeline):
    output = pipeline(symbol=[0, 3, 5], num_images=3, seed=1)
    assert output.codes[0].flatten().tolist() == [0, 3, 5]
    assert pipeline("red apple", symbol=2, num_images=4).codes[0].flatten().tolist() == [2] * 4
    assert output.bits.shape == (3,)


def test_coarse_codes_are_kept_and_the_others_drawn_anew(level: TextToImagePipeline):
    first = level(["red apple", "sad face"], num_images=2, seed=0)
    again = level(["red apple", "sad face"], num_images=2, seed=0, coarse_codes=first.codes[:1])
    assert pixels(again) == pixels(first)
    other = level(["red apple", "sad face"], num_images=2, seed=90, coarse_codes=first.codes[:1])
    assert torch.equal(other.codes[0], first.codes[0])
    assert not torch.equal(other.codes[1], first.codes[1])
    one = level("red apple", num_images=5, coarse_codes=tuple(grid[:1] for grid in first.codes[:1]))
    assert one.codes[0].flatten().tolist() == [int(first.codes[0][0, 0, 0])] * 5


def test_the_best_candidate_is_the_one_whose_caption_is_likeliest(level: TextToImagePipeline):
    bundle, words = level.bundle, ["red apple", "grinning face"]
    best = level(words, seed=3, num_candidates=6)
    assert best.caption_bits is not None
    assert best.seeds == [3, 4]
    for row, (text, seed) in enumerate(zip(words, best.seeds, strict=True)):
        candidates = level([text] * 6, seed=candidate_seeds([seed], 6))
        documents = [
            image_to_text(bundle.vocabulary, ids, bundle.text_tokenizer.encode(text), "2x2")
            for ids in images_to_ids(bundle.vocabulary, candidates.codes)
        ]
        bits = score_documents(TokenScorer(bundle.prior, bundle.grammar), documents).caption
        chosen = int(bits.argmin())
        assert all(torch.equal(a[row], b[chosen]) for a, b in zip(best.codes, candidates.codes, strict=True))
        assert float(best.caption_bits[row]) == pytest.approx(float(bits.min()), rel=1e-5)
    assert level(words, seed=3).caption_bits is None


def test_levels_may_have_settings_of_their_own(level: TextToImagePipeline):
    plain, sharp = level("red apple", num_images=20), level("red apple", num_images=20, temperature=(1.0, 0))
    assert torch.equal(plain.codes[0], sharp.codes[0])
    assert not torch.equal(plain.codes[1], sharp.codes[1])


def test_numbers_of_numpy_and_torch_are_numbers(level: TextToImagePipeline):
    expected = level("red apple", num_images=2, seed=3, symbol=2, temperature=(1.0, 0.5))
    settings: list[dict[str, Any]] = [
        dict(seed=np.int64(3), symbol=torch.tensor(2), temperature=np.array([1.0, 0.5])),
        dict(seed=torch.tensor([3, 4]), coarse_codes=(np.array([[[2]]]),), temperature=(1.0, 0.5)),
    ]
    for options in settings:
        found = level("red apple", num_images=2, **options)
        assert all(torch.equal(*grids) for grids in zip(found.codes, expected.codes, strict=True))


@pytest.mark.parametrize("temperature", [1e-6, 1e300])
@pytest.mark.parametrize("guidance_scale", [0.0, 1e4])
def test_settings_at_the_ends_of_their_range_draw(
    level: TextToImagePipeline, temperature: float, guidance_scale: float
):
    assert level("red apple", temperature=temperature, guidance_scale=guidance_scale).codes[0].numel() == 1


def test_from_pretrained_loads_a_folder():
    loaded = TextToImagePipeline.from_pretrained(bundle_folder(), device="cpu")
    assert pixels(loaded("red apple")) == pixels(TextToImagePipeline(shared_bundle())("red apple"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": []}, "at least one prompt"),
        ({"num_images": 0}, "num_images must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"seed": [1, 2]}, "one seed per picture is expected, 1 in all, got 2"),
        ({"seed": -1}, "seeds must be 0 or more"),
        ({"size": "3x3"}, "image size '3x3' is not in the vocabulary; known sizes: 2x2"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"top_p": 0.0}, "top_p must be"),
        ({"top_p": 1.5}, "top_p must be"),
        ({"temperature": [1.0]}, "temperature has 1 values, expected one, or one for each of 2 levels"),
        ({"symbol": 6}, "a symbol is a whole-image code, 0 to 5, got 6"),
        ({"symbol": -1}, "a symbol is a whole-image code, 0 to 5, got -1"),
        ({"symbol": 10**20}, "a symbol is a whole-image code, 0 to 5, got 1000"),
        ({"symbol": 1.0}, "symbol must be a whole number, or one for each picture, got 1.0"),
        ({"seed": 1.5}, "seed must be a whole number, or one for each picture, got 1.5"),
        ({"seed": None}, "seed must be a whole number"),
        ({"prompts": None}, "at least one prompt is expected, and words in each, got"),
        ({"prompts": [3]}, r"at least one prompt is expected, and words in each, got \[3\]"),
        ({"num_images": 2_000_000_000}, "at most 1,000,000 pictures can be asked for at a time, got 2,000,000,000"),
        ({"temperature": "hot"}, "temperature must be a number, or one for each level, got 'hot'"),
        ({"temperature": 5e-324}, "temperature must be 0, or at least 1e-06, got 5e-324"),
        ({"guidance_scale": 1e38}, r"guidance_scale must be 0 or more, at most 10000, got 1e\+38"),
        ({"guidance_interval": (1,)}, "guidance_interval must be two shares"),
        ({"top_k": 1.5}, "top_k must be 0"),
        ({"symbol": [1, 2]}, "one symbol per picture is expected, 1 in all, got 2"),
        ({"coarse_codes": (torch.zeros(1, 2, 2),)}, r"level 0 have shape \(1, 2, 2\), expected \(1 or 1, 1, 1\)"),
        ({"coarse_codes": (torch.zeros(1, 1, 1),), "symbol": 0}, "coarse_codes hold a whole-image code already"),
        ({"num_candidates": 0}, "num_candidates must be at least 1"),
        ({"prompts": "", "num_candidates": 2}, "an empty prompt needs num_candidates=1"),
        ({"prompts": "long " * 60}, "but the model has 64"),
        ({"prompts": "lone \ud800 surrogate"}, "lone surrogate at position 5"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(level: TextToImagePipeline, options, message: str):
    with pytest.raises(InputError, match=message):
        level(**{"prompts": "red apple", **options})
