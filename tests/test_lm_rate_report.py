import json
import math

import pytest
import torch

from pictogram.lm.estimates import Z, estimate
from pictogram.lm.image_bits import DOCUMENT_KINDS, ImageBits
from pictogram.lm.rate_report import PictureShape, report_rates, unpaired_difference

SHAPE = PictureShape([1, 4], 48)


def random_bits(seed: int, count: int = 20, without_words: int = 4) -> ImageBits:
    generator = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=generator, dtype=torch.float64) * 10

    bits = ImageBits(
        caption_bytes=some().round() + 1,
        too_long=torch.zeros(count, dtype=torch.bool),
        codes_given_caption=some(2),
        codes=some(2),
        caption_given_codes=some(),
        caption=some(),
        illegal=some(len(DOCUMENT_KINDS)),
        layout=some(len(DOCUMENT_KINDS)),
    )
    for values in (bits.caption_bytes, bits.codes_given_caption, bits.caption_given_codes, bits.caption):
        values[:without_words] = math.nan
    return bits


def test_figures_by_hand():
    bits = random_bits(0)
    report = report_rates(bits, SHAPE)
    assert report.codes.per_image == estimate(bits.codes.sum(1))
    assert report.codes.per_image.num_images == 20
    assert report.codes_given_caption.per_image.num_images == 16
    assert [level.value for level in report.codes.per_level] == pytest.approx(bits.codes.mean(0).tolist())
    first, second = bits.codes.mean(0).tolist()
    assert [level.value for level in report.codes.per_code] == pytest.approx([first, second / 4])
    assert report.codes.per_pixel_channel.value == pytest.approx(float(bits.codes.sum(1).mean()) / 48)
    words = bits.caption[4:]
    assert report.caption.per_caption.value == pytest.approx(float(words.mean()))
    assert report.caption.per_byte.value == pytest.approx(float(words.sum() / bits.caption_bytes[4:].sum()))
    assert report.illegal.image_to_text == estimate(bits.illegal[:, 1])
    assert report.layout.unconditional == estimate(bits.layout[:, 2])


def test_what_one_tells_of_the_other_is_paired():
    bits = random_bits(1)
    bits.codes[4:] = bits.codes_given_caption[4:] + 3  # the same for every picture
    report = report_rates(bits, SHAPE)
    told = report.told_by_caption
    assert (told.per_image.value, told.per_image.standard_error) == pytest.approx((6, 0), abs=1e-9)
    assert told.per_image.num_images == 16
    assert (told.per_code[1].value, told.per_code[1].standard_error) == pytest.approx((0.75, 0), abs=1e-9)
    error = report.codes.per_image.standard_error
    assert error is not None and error > 0.5
    assert report.told_by_codes.per_caption == estimate(bits.caption - bits.caption_given_codes)


def test_two_priors_are_paired_and_two_splits_are_not():
    bits, other = random_bits(2), random_bits(3)
    paired = report_rates(bits.minus(other), SHAPE)
    one, two = report_rates(bits, SHAPE), report_rates(other, SHAPE)
    apart = unpaired_difference(one, two)
    for found in (paired.codes.per_image, apart.codes.per_image):
        assert found.value == pytest.approx(float(bits.codes.sum(1).mean() - other.codes.sum(1).mean()))
    error = (bits.codes - other.codes).sum(1).std() / math.sqrt(20)
    assert paired.codes.per_image.standard_error == pytest.approx(float(error))
    variance = (bits.codes.sum(1).var() + other.codes.sum(1).var()) / 20
    assert apart.codes.per_image.standard_error == pytest.approx(math.sqrt(float(variance)))
    assert apart.codes.per_code[1].value == pytest.approx(float((bits.codes - other.codes)[:, 1].mean()) / 4)
    rates = [float(b.caption.nansum() / b.caption_bytes.nansum()) for b in (bits, other)]
    assert apart.caption.per_byte.value == pytest.approx(rates[0] - rates[1])
    assert apart.illegal.text_to_image.value == pytest.approx(float((bits.illegal - other.illegal)[:, 0].mean()))


def test_for_json():
    report = report_rates(random_bits(4), SHAPE)
    document = report.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    found = document["codes"]["per_level"][1]
    value, error = report.codes.per_level[1].value, report.codes.per_level[1].standard_error
    assert value is not None and error is not None
    assert found == {"value": value, "interval": [value - Z * error, value + Z * error], "num_images": 20}


def test_pictures_without_any_words():
    report = report_rates(random_bits(5, without_words=20), SHAPE)
    assert report.codes.per_image.num_images == 20
    for figure in (report.caption.per_byte, report.told_by_caption.per_image, report.codes_given_caption.per_code[0]):
        assert (figure.value, figure.interval, figure.num_images) == (None, None, 0)
    json.dumps(report.to_dict(), allow_nan=False)
