"""Completions against what the stock model says of whole documents."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_bundles import DEEP, bundle_around
from tiny_chain import bundle_folder, pictures
from tiny_pictures import picture

from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle
from pictogram.lm.documents import images_to_ids
from pictogram.lm.drawing import SamplingConfig, draw
from pictogram.lm.order import ORDERS, document_order
from pictogram.lm.sampler import uniforms
from pictogram.pipelines.image_completion import ImageCompletionOutput, ImageCompletionPipeline, completion_grid
from pictogram.pipelines.picture_drawing import candidate_seeds, words_to_prompt
from pictogram.pipelines.picture_input import encode_pictures

BUNDLES = {order: bundle_around(DEEP, order) for order in ORDERS}
PICTURES = [picture(seed, (16, 16)) for seed in range(3)]


@pytest.fixture(params=ORDERS)
def pipeline(request) -> ImageCompletionPipeline:
    return ImageCompletionPipeline(BUNDLES[request.param])


@pytest.fixture
def level() -> ImageCompletionPipeline:
    return ImageCompletionPipeline(BUNDLES["level"])


def white(*box: slice) -> np.ndarray:
    """A mask: white in the box only."""
    mask = np.zeros((16, 16), bool)
    mask[box] = True
    return mask


LEFT = white(slice(0, 16), slice(0, 8))
CORNER = white(slice(12, 16), slice(12, 16))


def shown(images: list[Image.Image]) -> list[bytes]:
    return [image.tobytes() for image in images]


@torch.no_grad()
def log_chances(bundle: Bundle, words: str, ids: torch.Tensor) -> torch.Tensor:
    """(B, n, K) ln p of every code of a place's level (-inf beyond its codebook), by the stock model."""
    vocabulary = bundle.vocabulary
    prompt = words_to_prompt(bundle, words, "2x2")
    rows = torch.cat([torch.tensor([prompt]).expand(len(ids), -1), ids], 1)
    logits = bundle.prior(rows).logits[:, len(prompt) - 1 : -1]
    chances = torch.full((*ids.shape, max(vocabulary.codebook_sizes)), -torch.inf, dtype=torch.float64)
    for place, level in enumerate(document_order(vocabulary.grids("2x2"), vocabulary.order).levels.tolist()):
        own = vocabulary.level_ids(level)
        chances[:, place, : len(own)] = torch.log_softmax(logits[:, place, own], -1)
    return chances


def bits_of(bundle: Bundle, words: str, ids: torch.Tensor) -> torch.Tensor:
    """(B, n) -log2 p of every code."""
    levels = document_order(bundle.vocabulary.grids("2x2"), bundle.vocabulary.order).levels
    columns = torch.stack([ids[:, n] - bundle.vocabulary.level_ids(int(level))[0] for n, level in enumerate(levels)], 1)
    return -log_chances(bundle, words, ids).gather(2, columns[..., None]).squeeze(2) / np.log(2)


def ids_of(bundle: Bundle, output: ImageCompletionOutput) -> torch.Tensor:
    return images_to_ids(bundle.vocabulary, output.codes)


def original_ids(bundle: Bundle) -> torch.Tensor:
    return images_to_ids(bundle.vocabulary, encode_pictures(bundle, PICTURES).codes)


def test_the_whole_image_code_is_drawn_from_its_posterior(pipeline: ImageCompletionPipeline):
    """Enumerated: p(code) p(kept codes that follow | code) for each code, and its cumulative sum inverted by hand."""
    bundle, words, count = pipeline.bundle, "blue plum", 300
    output = pipeline(PICTURES[0], keep_rows=0.5, prompts=words, num_images=count, seed=10)
    exact = int(output.num_exact[0])
    first = bundle.vocabulary.level_ids(0)
    rows = original_ids(bundle)[:1].repeat(len(first), 1)
    rows[:, 0] = first
    posterior = (-bits_of(bundle, words, rows)[:, : 1 + exact].sum(1) * np.log(2)).softmax(0)
    assert 0.05 < float(posterior.max()) < 0.95
    draws = uniforms(range(10, 10 + count), rows.shape[1])[:, 0]
    expected = torch.searchsorted(posterior.cumsum(0), draws.contiguous(), right=True)
    assert torch.equal(output.codes[0].flatten(), expected)
    found = torch.bincount(expected, minlength=len(first)) / count
    assert float((found - posterior).abs().max()) < 0.1
    entropy = -(posterior * posterior.log2()).sum()
    torch.testing.assert_close(output.image_code_entropy, entropy.expand(count), rtol=1e-6, atol=1e-6)


def test_the_last_code_is_drawn_from_its_conditional():
    """Without a whole-image level, and with everything else given, nothing is left but one conditional."""
    bundle = bundle_around([8])
    count, words = 200, "sad face"
    output = ImageCompletionPipeline(bundle)(
        PICTURES[1], mask=white(slice(8, 16), slice(8, 16)), prompts=words, num_images=count
    )
    ids = original_ids(bundle)[1:2]
    chances = log_chances(bundle, words, ids)[0, -1].exp()
    expected = torch.searchsorted(chances.cumsum(0), uniforms(range(count), 4)[:, -1].contiguous(), right=True)
    assert torch.equal(output.codes[0][:, 1, 1], expected) and len(set(expected.tolist())) > 1
    assert output.image_code_entropy is None
    assert output.num_exact.tolist() == [3] * count


def test_what_follows_is_drawn_given_all_before_it(pipeline: ImageCompletionPipeline):
    """Every code that is drawn inverts the stock model's distribution given all codes before it, kept or drawn."""
    output = pipeline(PICTURES[2], mask=LEFT, num_images=20, seed=3)
    ids = ids_of(pipeline.bundle, output)
    chances = log_chances(pipeline.bundle, "", ids).exp()
    draws = uniforms(range(3, 23), ids.shape[1])
    layout = document_order(pipeline.bundle.vocabulary.grids("2x2"), pipeline.bundle.vocabulary.order)
    drawn = 0
    for place in range(1, len(layout)):
        level, row, column = (int(field[place]) for field in (layout.levels, layout.rows, layout.cols))
        if column < (1, 1, 2)[level]:  # the left half
            expected = draw(chances[:, place].log(), draws[:, place], SamplingConfig())
            assert torch.equal(output.codes[level][:, row, column], expected)
            drawn += 1
    assert drawn == 10


@pytest.mark.parametrize(
    "options", [{"keep_rows": 0.5}, {"keep_rows": 0.75}, {"mask": LEFT}, {"mask": CORNER}], ids=str
)
def test_kept_codes_stay(pipeline: ImageCompletionPipeline, options: dict[str, Any]):
    output = pipeline(PICTURES, num_images=2, guidance_scale=2.0, prompts="red apple", **options)
    originals = encode_pictures(pipeline.bundle, PICTURES).codes
    for level, (before, after) in enumerate(zip(originals, output.codes, strict=True)):
        rows, columns = before.shape[1:]
        pixels = output.kept_pixels.unflatten(2, (columns, -1)).unflatten(1, (rows, -1))
        is_kept = pixels.all(4).all(2)
        assert is_kept.sum((1, 2)).tolist() == output.num_kept[:, level].tolist()
        assert torch.equal(after[is_kept], before.repeat_interleave(2, 0)[is_kept])


@pytest.mark.parametrize(
    ("channels", "settings"), [(3, {}), (1, {}), (3, {"do_pad": True}), (1, {"do_pad": True})], ids=str
)
@pytest.mark.parametrize("size", [(16, 16), (12, 6), (31, 20)])
def test_kept_pixels_are_the_original_s_to_the_bit(channels: int, settings: dict[str, Any], size: tuple[int, int]):
    grey = {"num_channels": channels}
    bundle = bundle_around(DEEP, settings=grey, **grey, **settings)
    image = picture(5, size)
    output = ImageCompletionPipeline(bundle)(image, keep_rows=0.5, num_images=2)
    read = bundle.image_processor(image, return_tensors="pt")["pixel_values"]
    expected = ((read[0] + 1) * 127.5).round().byte().movedim(0, -1).squeeze(-1).numpy()
    for drawn, decoded, original, region in zip(
        output.images, output.decoded, output.originals, output.kept_pixels.numpy(), strict=True
    ):
        assert drawn.mode == decoded.mode == original.mode == {1: "L", 3: "RGB"}[channels]
        assert drawn.size == (16, 16)
        assert np.array_equal(np.array(original), expected)
        assert np.array_equal(np.array(drawn)[region], expected[region])
        assert np.array_equal(np.array(drawn)[~region], np.array(decoded)[~region])
        assert not np.array_equal(np.array(decoded)[region], expected[region])


@pytest.mark.parametrize("order", ORDERS)
def test_the_best_candidate_is_the_one_whose_forced_codes_are_likeliest(order: str):
    pipeline, bundle = ImageCompletionPipeline(BUNDLES[order]), BUNDLES[order]
    output = pipeline(PICTURES[:2], mask=LEFT, prompts=["sad face", ""], seed=5, num_candidates=4)
    changed = 0
    for row, words in enumerate(["sad face", ""]):
        each = pipeline(PICTURES[row], mask=LEFT, prompts=words, num_images=4, seed=candidate_seeds([5 + row], 4))
        ids = ids_of(bundle, each)
        kept = ids[0] == original_ids(bundle)[row]
        forced = torch.tensor([int(column) for column in document_order(bundle.vocabulary.grids("2x2"), order).cols])
        forced = forced >= torch.tensor([1, 1, 2])[document_order(bundle.vocabulary.grids("2x2"), order).levels]
        assert kept[forced].all()
        costs = bits_of(bundle, words, ids)[:, forced].sum(1)
        torch.testing.assert_close(each.forced_bits, costs, rtol=1e-6, atol=1e-6)
        best = int(costs.argmin())
        changed += best > 0
        assert shown(output.images[row : row + 1]) == shown(each.images[best : best + 1])
        assert torch.equal(output.level_bits[row], each.level_bits[best])
    assert output.seeds == [5, 6] and changed > 0


def test_bits_are_what_the_stock_model_says(pipeline: ImageCompletionPipeline):
    output = pipeline(PICTURES, keep_rows=0.5, prompts="sad face", temperature=0.7, guidance_scale=1.5)
    bits = bits_of(pipeline.bundle, "sad face", ids_of(pipeline.bundle, output))
    torch.testing.assert_close(output.bits, bits.sum(1), rtol=1e-6, atol=1e-6)
    levels = document_order(pipeline.bundle.vocabulary.grids("2x2"), pipeline.bundle.vocabulary.order).levels
    torch.testing.assert_close(output.level_bits[:, 2], bits[:, levels == 2].sum(1), rtol=1e-6, atol=1e-6)


def test_a_completion_is_the_same_in_any_company(pipeline: ImageCompletionPipeline):
    masks, words = [LEFT, CORNER, LEFT], ["red apple", "", "sad face"]
    options: dict[str, Any] = {"guidance_scale": 1.5, "num_candidates": 2}
    together = pipeline(PICTURES, mask=masks, prompts=words, num_images=2, seed=40, **options)
    assert together.seeds == list(range(40, 46)) and together.prompts == [w for w in words for _ in range(2)]
    for batch_size in (1, 4):
        again = pipeline(PICTURES, mask=masks, prompts=words, num_images=2, seed=40, batch_size=batch_size, **options)
        assert shown(again.images) == shown(together.images)
    for row in range(6):
        of = row // 2
        alone = pipeline(PICTURES[of], mask=masks[of], prompts=words[of], seed=40 + row, **options)
        assert shown(alone.images) == shown(together.images)[row : row + 1]
        torch.testing.assert_close(alone.bits[0], together.bits[row])
    other = pipeline(PICTURES, mask=masks, prompts=words, num_images=2, seed=90, **options)
    assert shown(other.images) != shown(together.images)


def test_settings_of_the_sampler_hold_for_the_whole_image_code_too(level: ImageCompletionPipeline):
    greedy = level(PICTURES[0], keep_rows=0.5, num_images=3, temperature=0)
    assert len(set(shown(greedy.images))) == 1
    first_only = level(PICTURES[0], keep_rows=0.5, num_images=30, top_k=(1, 0, 0))
    assert len({int(code) for code in first_only.codes[0].flatten()}) == 1
    assert len(set(shown(first_only.images))) > 1
    plain = level(PICTURES[0], keep_rows=0.5, num_images=60, prompts="sad face")
    guided = level(PICTURES[0], keep_rows=0.5, num_images=60, prompts="sad face", guidance_scale=(6.0, 1.0, 1.0))
    late = level(
        PICTURES[0], keep_rows=0.5, num_images=60, prompts="sad face", guidance_scale=6.0, guidance_interval=(0.5, 1.0)
    )
    assert not torch.equal(plain.codes[0], guided.codes[0])
    assert torch.equal(plain.codes[0], late.codes[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_grid_shows_what_is_kept(channels: int):
    bundle = bundle_around(DEEP, settings={"num_channels": channels}, num_channels=channels)
    output = ImageCompletionPipeline(bundle)(PICTURES[:2], keep_rows=0.5, num_images=3)
    grid = completion_grid(output, 3)
    assert grid.size == (5 * 134 + 6, 2 * 134 + 26)
    kept = grid.crop((140, 160, 140 + 128, 160 + 128)).resize((16, 16), Image.Resampling.NEAREST)
    original = output.originals[3].convert("RGB")
    assert kept.crop((0, 0, 16, 8)).tobytes() == original.crop((0, 0, 16, 8)).tobytes()
    assert kept.crop((0, 8, 16, 16)).getcolors() == [(128, (200, 200, 200))]


def test_paths_and_pictures_are_read_alike(level: ImageCompletionPipeline):
    paths = sorted(pictures().glob("*.png"))[:2]
    from_paths = level(paths, keep_rows=0.5)
    assert shown(level([Image.open(path) for path in paths], keep_rows=0.5).images) == shown(from_paths.images)
    assert shown(level(str(paths[0]), keep_rows=0.5).images) == shown(from_paths.images)[:1]


def test_native_sizes():
    bundle = bundle_around(DEEP, sizes=((16, 16), (16, 24)), do_resize=False)
    pipeline = ImageCompletionPipeline(bundle)
    output = pipeline([picture(seed, (24, 16)) for seed in range(2)], keep_rows=0.5)
    assert [image.size for image in output.images] == [(24, 16)] * 2
    assert output.num_kept.tolist() == [[0, 3, 12]] * 2
    with pytest.raises(InputError, match="are not in the vocabulary, which knows 2x2"):
        pipeline(picture(0, (16, 24)), keep_rows=0.5)
    with pytest.raises(InputError, match="pictures of different sizes cannot form one batch"):
        pipeline([picture(0, (24, 16)), picture(0, (16, 16))], keep_rows=0.5)


def test_from_pretrained_loads_a_folder():
    loaded = ImageCompletionPipeline.from_pretrained(bundle_folder(), device="cpu")
    output = loaded(PICTURES[0], keep_rows=0.5)
    assert output.num_kept.tolist() == [[0, 2]] and output.num_exact.tolist() == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": []}, "at least one picture is expected, got none"),
        ({"images": "nowhere.png"}, "nowhere.png cannot be read as a picture"),
        ({"keep_rows": 1.5}, "keep_rows must be above 0 and below 1, got 1.5"),
        ({"mask": LEFT}, "either keep_rows or a mask is expected, got both"),
        ({"keep_rows": None}, "either keep_rows or a mask is expected, got neither"),
        ({"keep_rows": 0.1}, "picture 0 keeps no whole cell of 4x4 pixels"),
        ({"prompts": ["a", "b"]}, "one prompt for all pictures or one for each of 1 is expected, got 2"),
        ({"num_images": 0}, "num_images must be at least 1"),
        ({"num_candidates": 0}, "num_candidates must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"seed": [1, 2]}, "one seed per picture is expected, 1 in all, got 2"),
        ({"seed": -1}, "seeds must be 0 or more"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"prompts": "long " * 60}, "but the model has 64"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(level: ImageCompletionPipeline, options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        level(**{"images": PICTURES[0], "keep_rows": 0.5, **options})


def test_candidates_that_nothing_tells_apart_are_refused():
    pyramid = ImageCompletionPipeline(BUNDLES["pyramid"])
    with pytest.raises(InputError, match="all kept codes are exact here, so nothing tells candidates apart"):
        pyramid(PICTURES[0], keep_rows=0.5, num_candidates=2)
    assert len(pyramid(PICTURES[0], keep_rows=0.75, num_candidates=2).images) == 1
