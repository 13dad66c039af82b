import dataclasses

import pytest
import tiny_chain
import torch
from tiny_adapters import LAYOUTS, adapted, pixels
from transformers import AutoModel

from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle
from pictogram.lm.train import PriorTrainingConfig, train_prior
from pictogram.pipelines.evaluate_prior import evaluate_prior
from pictogram.pipelines.text_to_image import TextToImagePipeline
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.pictures import reconstruction_grid

WITH_DECODER = [layout for layout in LAYOUTS if layout != "chameleon"]


def both(model: AdaptedTokenizer) -> tuple[str, str]:
    return codes_fingerprint(model, tiny_chain.processor()), decoder_fingerprint(model)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saving_and_loading_changes_no_bit(layout, tmp_path):
    model = adapted(layout)
    model.save_pretrained(tmp_path)
    tiny_chain.processor().save_pretrained(tmp_path)
    loaded = load_image_tokenizer(tmp_path).model
    assert isinstance(loaded, AdaptedTokenizer)
    assert isinstance(AutoModel.from_pretrained(tmp_path), AdaptedTokenizer)
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert both(loaded) == both(model)
    assert all(map(torch.equal, loaded.encode(pixels()), model.encode(pixels())))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_learns(layout):
    model = adapted(layout)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not any(parameter.requires_grad for parameter in model.parameters())
    codes = model.encode(pixels())
    assert not model.train().training
    assert not any(module.training for module in model.modules())
    assert all(map(torch.equal, model.encode(pixels()), codes))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("layout", WITH_DECODER)
def test_pictures_do_not_depend_on_their_batch_and_stay_in_range(layout):
    model = adapted(layout)
    codes = model.encode(pixels(3))
    together = model.decode(codes)
    assert together.shape == (3, 3, 16, 16)
    assert together.abs().max() <= 1
    alone = model.decode([level[1:2] for level in codes])
    torch.testing.assert_close(alone, together[1:2], rtol=1e-4, atol=1e-4)
    assert torch.equal(model.decode(codes, model.config.num_levels), together)


@pytest.mark.parametrize("layout", WITH_DECODER)
def test_prefixes_of_levels(layout):
    model = adapted(layout)
    codes = model.encode(pixels())
    assert model.decode(codes[:1], 1).shape == (2, 3, 16, 16)
    with pytest.raises(InputError, match="num_levels must be"):
        model.decode(codes, model.config.num_levels + 1)


def test_the_fine_level_counts_only_where_it_is_used():
    model = adapted("vqvae2")
    coarse, fine = model.encode(pixels())
    other = (fine + 1) % 16
    assert torch.equal(model.decode([coarse, fine], 1), model.decode([coarse, other], 1))
    assert torch.equal(model.decode([coarse, fine], 1), model.decode([coarse], 1))
    assert not torch.equal(model.decode([coarse, fine]), model.decode([coarse, other]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_code_vectors(layout):
    model = adapted(layout)
    for level, size in enumerate(model.config.codebook_sizes):
        vectors = model.code_vectors(level)
        assert vectors.dtype == torch.float32
        assert len(vectors) == size


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_has_its_fingerprint(layout):
    """Encoder tensors change codes' fingerprint, decoder tensors pictures', codebooks both; statistics neither."""
    model = adapted(layout)
    codes, pictures = model.codes_tensors().keys(), model.picture_tensors().keys()
    unused = model.network.state_dict().keys() - codes - pictures
    statistics = ("cluster_size", "embed_avg", "num_batches_tracked")
    decoder_of_chameleon = ("model.post_quant_conv.weight", "model.post_quant_conv.bias")
    assert all(name.endswith(statistics) or name in decoder_of_chameleon for name in unused)
    assert codes & pictures == {name for name in codes if "quantize." in name or name.endswith(".embed")}
    names = sorted(model.network.state_dict())
    for name in names[:: len(names) // 6]:
        before, tensor = both(model), model.network.state_dict()[name]
        kept = tensor.clone()
        tensor.view(-1)[-1] += 1
        after = both(model)
        assert (before[0] != after[0], before[1] != after[1]) == (name in codes, name in pictures), name
        tensor.copy_(kept)
        assert both(model) == before


def test_settings_count_for_fingerprints():
    model = adapted("llamagen")
    scaled = both(model)
    assert both(adapted("llamagen", image_size=24)) == scaled
    assert all(a != b for a, b in zip(both(adapted("llamagen", pixel_mean=[0.4])), scaled, strict=True))
    settings = dict(model.config.settings or {}) | {"codebook_l2_norm": False}
    model.config.settings = settings
    assert all(a != b for a, b in zip(both(model), scaled, strict=True))


def test_half_precision_takes_pixels_of_any_type():
    model = adapted("vqvae2")
    model.to(dtype=torch.bfloat16)  # pyright: ignore[reportCallIssue]
    assert all(level.dtype == torch.int64 for level in model.encode(pixels()))


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    adapted("vqvae2").save_pretrained(folder)
    tiny_chain.processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def codes_folder(tokenizer_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codes")
    tokenize(TokenizeConfig(data=str(tiny_chain.pictures()), model=str(tokenizer_folder), output=str(folder)))
    return folder


def test_a_dataset_of_codes(tokenizer_folder, codes_folder):
    loaded = load_image_tokenizer(tokenizer_folder)
    codes = load_codes(codes_folder, tokenizer=loaded.model)
    assert list(codes.codebook_sizes) == [16, 16]
    assert codes.manifest.strides == [8, 4]
    assert [list(grid) for grid in codes.shared_grids] == [[2, 2], [4, 4]]
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        load_codes(codes_folder, tokenizer=adapted("vqvae2", seed=1), processor=loaded.processor)


def test_a_bundle_around_it_is_trained_saved_and_draws(tokenizer_folder, codes_folder, tmp_path, fresh_accelerator):
    config = PriorTrainingConfig(
        codes=str(codes_folder), tokenizer=str(tokenizer_folder), output=str(tmp_path / "bundle"),
        size="pico", text_vocab_size=300, num_steps=2, batch_size=4,
    )  # fmt: skip
    bundle = train_prior(config)
    assert isinstance(bundle.image_tokenizer, AdaptedTokenizer)
    bundle.save_pretrained(tmp_path / "again")
    pipeline = TextToImagePipeline(Bundle.from_pretrained(tmp_path / "again").to("cpu"))
    result = pipeline(["red apple"], num_images=2, seed=0)
    assert [image.size for image in result.images] == [(16, 16)] * 2
    assert evaluate_prior(str(tmp_path / "again"), str(codes_folder), "train")
    other = dataclasses.replace(bundle, image_tokenizer=adapted("vqvae2", seed=1))
    with pytest.raises(InputError, match="do not belong together"):
        other.save_pretrained(tmp_path / "other")


def test_a_sheet_of_reconstructions():
    assert reconstruction_grid(adapted("vqvae2"), pixels()).width > 3 * 96
