import json
from dataclasses import replace

import pytest
import torch
from datasets import ClassLabel

from pictogram.hub.errors import InputError
from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig
from pictogram.tokenizer.code_statistics import measure_classes, measure_codes
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.distortion import psnr
from pictogram.tokenizer.evaluation import evaluate_tokenizer
from pictogram.tokenizer.feature_space import load_feature_space
from pictogram.tokenizer.frechet import GaussianMoments, frechet_distance
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil, to_8bit
from pictogram.tokenizer.images import ImageSource, load_image_source
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.padding import Box
from pictogram.tokenizer.pixel_dataset import PixelDataset
from pictogram.tokenizer.report import Reference, report_on_tokenizer
from pictogram.tokenizer.ssim import ssim

THUMBNAIL = load_feature_space("thumbnail")


def labelled(source: ImageSource, names: list[str]) -> ImageSource:
    labels = [row % len(names) for row in range(len(source))]
    dataset = source.dataset.add_column("kind", labels)
    return replace(source, dataset=dataset.cast_column("kind", ClassLabel(names=names)))


def padded(source: ImageSource) -> PixelDataset:
    return PixelDataset(source, ImageTokenizerImageProcessorPil(size={"height": 24, "width": 24}, do_pad=True))


@pytest.fixture
def source(image_folder) -> ImageSource:
    return labelled(load_image_source(str(image_folder)), ["even", "odd"])


@pytest.fixture
def measured(source) -> PixelDataset:
    return padded(source.select(range(10)))


@pytest.fixture
def reference(source) -> Reference:
    return Reference("rest", padded(source.select(range(10, 24))))


@pytest.fixture
def model(reference) -> ImageTokenizer:
    torch.manual_seed(0)
    config = ImageTokenizerConfig(image_size=24, strides=["image", 8], codebook_sizes=[4, 5], hidden_size=8)
    model = ImageTokenizer(config).eval()
    model.start_codebooks(reference.dataset.pixels(range(14)), seed=0)
    return model


def thumbnails(pixels: torch.Tensor) -> GaussianMoments:
    moments = GaussianMoments()
    moments.add(THUMBNAIL.features(pixels))
    return moments


def test_figures_by_hand(model, measured, reference):
    report = report_on_tokenizer(model, measured, split="some", reference=reference, feature_space=THUMBNAIL)
    pixel_values, others = measured.pixels(range(10)), reference.dataset.pixels(range(14))
    codes, other_codes = model.encode(pixel_values), model.encode(others)
    box = Box(4, 4, 16, 16)
    original, other = box.of(to_8bit(pixel_values)), box.of(to_8bit(others))
    prefixes = [box.of(to_8bit(model.decode(codes, number))) for number in (1, 2)]
    for level, decoded in enumerate(prefixes):
        error = float((decoded - original).double().square().mean())
        assert report.distortion.psnr[level] == pytest.approx(psnr(error))
        assert report.distortion.ssim is not None
        assert report.distortion.ssim[level] == pytest.approx(float(ssim(original, decoded).mean()))
    assert report.codes == measure_codes(codes, [4, 5], other_codes)
    even_odd = torch.arange(10) % 2, torch.arange(14) % 2
    symbols, other_symbols = codes[0].flatten(), other_codes[0].flatten()
    assert report.classes == measure_classes(symbols, even_odd[0], 4, 2, (other_symbols, even_odd[1]))
    frechet = report.frechet
    assert frechet is not None
    assert (frechet.features, frechet.features_sha256, frechet.feature_dimension) == ("thumbnail", None, 192)
    assert (frechet.reference_split, frechet.reference_count, frechet.evaluated_count) == ("rest", 14, 10)
    assert (frechet.prefix, frechet.picture_size) == (2, (16, 16))
    assert frechet.distance == pytest.approx(frechet_distance(thumbnails(other), thumbnails(prefixes[-1])))
    assert frechet.floor == pytest.approx(frechet_distance(thumbnails(other), thumbnails(original)))


def test_the_short_evaluation_says_the_same(model, measured):
    short = evaluate_tokenizer(model, measured).to_dict()
    document = report_on_tokenizer(model, measured, split="some").to_dict()
    assert {name: document[name] for name in short} == short


def test_the_document_is_json_and_the_same_the_next_time(model, measured, reference):
    documents = [
        report_on_tokenizer(model, measured, split="some", reference=reference, feature_space=THUMBNAIL).to_dict()
        for _ in range(2)
    ]
    assert documents[0] == documents[1]
    text = json.dumps(documents[0], allow_nan=False)
    assert set(json.loads(text)) == {
        "num_images", "psnr", "mean_psnr", "perfect_copies", "ssim", "usage", "perplexity", "static_bits",
        "position_bits", "reference_bits", "reference_position_bits", "codes_per_image", "bits_per_image_raw",
        "classes", "frechet",
    }  # fmt: skip


class Steady(ImageTokenizer):
    """Encodes and decodes one picture at a time, so that its own rounding does not depend on the batch."""

    def encode(self, pixel_values):
        levels = zip(*(super(Steady, self).encode(picture[None]) for picture in pixel_values), strict=True)
        return tuple(torch.cat(level) for level in levels)

    def decode(self, codes, num_levels=None):
        pictures = zip(*codes, strict=True)
        return torch.cat(
            [super(Steady, self).decode([level[None] for level in picture], num_levels) for picture in pictures]
        )


def flat(values) -> list[float]:
    if isinstance(values, dict):
        return [number for value in values.values() for number in flat(value)]
    if isinstance(values, (list, tuple)):
        return [number for value in values for number in flat(value)]
    return [values] if isinstance(values, (int, float)) else []


def test_the_batch_size_does_not_matter(model, measured, reference):
    steady = Steady(model.config).eval()
    steady.load_state_dict(model.state_dict())
    done: list[int] = []
    small, large = (
        report_on_tokenizer(
            steady,
            measured,
            split="some",
            reference=reference,
            feature_space=THUMBNAIL,
            batch_size=size,
            progress=done.append,
        ).to_dict()
        for size in (3, 64)
    )
    assert done == [3, 3, 3, 1, 3, 3, 3, 3, 2, 10, 14]
    assert flat(small) == pytest.approx(flat(large), rel=1e-9)


def test_without_other_pictures_nothing_is_held_out(model, measured):
    report = report_on_tokenizer(model, measured, split="some", feature_space=THUMBNAIL)
    assert report.codes.reference_bits is report.codes.reference_position_bits is None
    assert report.classes is not None and report.classes.majority_vote is None
    assert report.frechet is not None
    assert (report.frechet.reference_split, report.frechet.reference_count) == ("some", 10)
    assert report.frechet.floor == 0
    assert report.frechet.distance > 1e-3


def test_one_picture_has_no_distance(model, source, reference):
    report = report_on_tokenizer(
        model, padded(source.select([0])), split="one", reference=reference, feature_space=THUMBNAIL
    )
    assert report.frechet is None
    assert report.num_images == 1


def test_pictures_of_several_sizes_in_one_frame(model, tmp_path, source):
    for index, size in enumerate([(16, 16), (20, 12), (24, 24)]):
        source.read(index).resize(size).save(tmp_path / f"{index}.png")
    report = report_on_tokenizer(model, padded(load_image_source(str(tmp_path))), split="some", feature_space=THUMBNAIL)
    assert report.frechet is not None and report.frechet.picture_size is None
    assert report.distortion.ssim is not None
    assert report.classes is None  # no labels


def test_lists_of_classes_must_agree(model, measured, source):
    other = padded(labelled(load_image_source(source.name).select(range(10, 24)), ["odd", "even"]))
    with pytest.raises(InputError, match="one list of classes in 'kind'"):
        report_on_tokenizer(model, measured, split="some", reference=Reference("rest", other))


def test_tokenizers_of_others(measured):
    two_levels = AdaptedTokenizerConfig(layout="vqvae2", settings={"channel": 8, "n_embed": 16})
    report = report_on_tokenizer(AdaptedTokenizer(two_levels), measured, split="some", feature_space=THUMBNAIL)
    assert len(report.distortion.psnr) == 2 and None not in report.distortion.psnr
    assert report.classes is None  # no whole-image level
    settings = {
        "embed_dim": 4, "num_embeddings": 8, "latent_channels": 4, "resolution": 16, "base_channels": 32,
        "channel_multiplier": [1, 1], "num_res_blocks": 1,
    }  # fmt: skip
    no_decoder = AdaptedTokenizer(AdaptedTokenizerConfig(layout="chameleon", settings=settings))
    document = report_on_tokenizer(no_decoder, measured, split="some", feature_space=THUMBNAIL).to_dict()
    assert document["psnr"] == document["mean_psnr"] == document["ssim"] == [None]
    assert document["frechet"] is None
    assert document["codes_per_image"] == 12 * 12
