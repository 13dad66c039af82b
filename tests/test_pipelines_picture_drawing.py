import pytest
import torch
from tiny_chain import shared_bundle

from pictogram.hub.errors import InputError
from pictogram.lm.documents import ids_to_images, text_to_image_prompt
from pictogram.lm.image_sampler import ImageSampling
from pictogram.pipelines import picture_drawing
from pictogram.pipelines.picture_drawing import (
    candidate_seeds,
    decode_pictures,
    draw_pictures,
    start_drawing,
    sum_levels,
    words_to_prompt,
)
from pictogram.pipelines.picture_request import new_request
from pictogram.tokenizer.image_processor import to_images

WORDS = ["red apple", "", "sad face"]


def test_groups_draw_what_all_draw_together():
    bundle = shared_bundle()
    request = new_request(bundle.vocabulary, WORDS, num_images=2, seed=3)
    together = start_drawing(bundle, request, ImageSampling()).draw()
    for batch_size in (1, 4, 64):
        drawn = draw_pictures(bundle, request, ImageSampling(), batch_size)
        assert torch.equal(drawn.token_ids, together.token_ids)
        torch.testing.assert_close(drawn.bits, together.bits, rtol=1e-5, atol=1e-4)


def test_codes_that_are_given_stay():
    bundle = shared_bundle()
    request = new_request(bundle.vocabulary, WORDS, num_images=1, seed=0, symbol=[4, 0, 5])
    drawn = draw_pictures(bundle, request, ImageSampling(), 2)
    assert ids_to_images(bundle.vocabulary, drawn.token_ids, "2x2")[0].flatten().tolist() == [4, 0, 5]


def test_no_words_are_the_unconditional_prompt():
    bundle = shared_bundle()
    assert words_to_prompt(bundle, "", "2x2") == text_to_image_prompt(bundle.vocabulary, [], "2x2")
    with pytest.raises(InputError, match="image size '9x9' is not in the vocabulary"):
        words_to_prompt(bundle, "", "9x9")


def test_pictures_are_decoded_in_groups(monkeypatch):
    bundle = shared_bundle()
    codes = (torch.arange(5).view(5, 1, 1), torch.arange(20).view(5, 2, 2) % 9)
    monkeypatch.setattr(picture_drawing, "_AT_ONCE", 2)
    for num_levels in (None, 1):
        expected = to_images(bundle.image_tokenizer.decode(codes, num_levels))
        decoded = decode_pictures(bundle, codes, num_levels)
        assert [image.tobytes() for image in decoded] == [image.tobytes() for image in expected]


def test_bits_are_summed_by_level():
    bits = torch.tensor([[1.0, 2.0, 4.0], [0.0, 8.0, 0.5]], dtype=torch.float64)
    assert sum_levels(bits, torch.tensor([0, 1, 1])).tolist() == [[1.0, 6.0], [0.0, 8.5]]
    assert sum_levels(bits, torch.tensor([1, 0, 1])).tolist() == [[2.0, 5.0], [8.0, 0.5]]


def test_the_first_candidate_has_the_seed_itself():
    seeds = candidate_seeds([7, 8], 3)
    assert (seeds[0], seeds[3]) == (7, 8)
    assert len(set(seeds)) == 6
    assert candidate_seeds([8], 3) == seeds[3:]
    assert candidate_seeds([7, 8], 1) == [7, 8]
