import dataclasses

import numpy as np
import pytest
from PIL import Image
from tiny_chain import codes_folder, pictures, shared_bundle
from tiny_codec import static_chances

from pictogram import load_codes
from pictogram.lm.static_chances import count_rows
from pictogram.pipelines.codec_points import CodecSetting, bundle_key, codec_point, codec_settings, reader_bytes
from pictogram.pipelines.image_codec import ImageCodec


def bundle(order="level"):
    tables = count_rows(load_codes(codes_folder()), order)
    return dataclasses.replace(shared_bundle(order), static_chances=tables)


def images():
    return [Image.open(path).convert("RGB") for path in sorted(pictures().glob("*.png"))[:4]]


def test_every_prefix_with_every_weight_and_the_tables():
    assert list(map(str, codec_settings(bundle(), [0, 50]))) == [
        "1 levels",
        "1 levels, rate weight 50",
        "2 levels",
        "2 levels, rate weight 50",
        "2 levels, counted tables",
    ]
    assert list(map(str, codec_settings(bundle("pyramid"), [0, 50]))) == ["2 levels", "2 levels, counted tables"]
    plain = dataclasses.replace(bundle(), static_chances=None)
    assert [setting.is_static for setting in codec_settings(plain, [0])] == [False, False]


@pytest.mark.parametrize("is_static", [False, True])
def test_a_point_is_what_files_weigh_and_show(is_static):
    codec = ImageCodec(bundle())
    setting = CodecSetting(2, is_static=is_static)
    point = codec_point(codec, images(), setting)
    file = codec.compress(images(), static=is_static)
    assert point.bytes * 4 == len(file.data)
    assert point.payload_bytes * 4 == file.payload_bytes
    assert point.model_bytes * 32 == pytest.approx(file.model_bits)
    decoded = codec.decompress(file.data).images
    pairs = zip(images(), decoded, strict=True)
    errors = [np.square(np.array(before, float) - np.array(after, float)).sum() for before, after in pairs]
    assert point.squared_error == pytest.approx(np.mean(errors))
    assert point.cost(10) == pytest.approx(point.squared_error + 80 * point.bytes)
    assert point.is_static == is_static


def test_files_of_their_own():
    codec = ImageCodec(bundle())
    together, apart = (codec_point(codec, images(), CodecSetting(1), apart=way) for way in (False, True))
    assert apart.bytes * 4 == sum(len(codec.compress(image, num_levels=1).data) for image in images())
    assert apart.bytes > together.bytes and apart.psnr == together.psnr


def test_bundles_are_told_apart():
    assert bundle_key(bundle()) != bundle_key(bundle("pyramid"))
    assert bundle_key(bundle()) == bundle_key(shared_bundle())
    other = dataclasses.replace(bundle(), static_chances=static_chances())
    assert bundle_key(other) == bundle_key(bundle())
    assert bundle_key(other, is_static=True) != bundle_key(bundle(), is_static=True)


def test_what_a_reader_needs():
    parts = bundle()
    prior = sum(tensor.numel() for tensor in parts.prior.state_dict().values())
    assert reader_bytes(parts) > 4 * prior
    encoder = sum(weight.numel() for name, weight in parts.image_tokenizer.named_parameters() if "encoder" in name)  # pyright: ignore
    whole = sum(weight.numel() for weight in parts.image_tokenizer.state_dict().values())  # pyright: ignore
    assert reader_bytes(parts) <= 4 * (prior + whole - encoder)
