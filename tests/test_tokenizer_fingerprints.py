import pytest
import torch

from pictogram.hub.fingerprint import fingerprint
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint, preprocessing
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.model import ImageTokenizer

SIZE = {"height": 16, "width": 16}


def make(**settings) -> ImageTokenizer:
    torch.manual_seed(0)
    config = {"image_size": 16, "strides": ["image", 8], "codebook_sizes": [4, 8], "hidden_size": 8} | settings
    return ImageTokenizer(ImageTokenizerConfig(**config)).eval()


@pytest.fixture
def processor() -> ImageTokenizerImageProcessorPil:
    return ImageTokenizerImageProcessorPil(size=SIZE)


def both(model: ImageTokenizer, processor: ImageTokenizerImageProcessorPil) -> tuple[str, str]:
    return codes_fingerprint(model, processor), decoder_fingerprint(model)


def changed(before: tuple[str, str], after: tuple[str, str]) -> tuple[bool, bool]:
    return before[0] != after[0], before[1] != after[1]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("encoder.features.stem.0.project.weight", (True, False)),
        ("encoder.to_latents.1.bias", (True, False)),
        ("codebooks.1.embedding.weight", (True, True)),
        ("decoder.head.1.project.bias", (False, True)),
        ("decoder.absent.0", (False, True)),
        ("codebooks.0.counts", (False, False)),
        ("codebooks.0.sums", (False, False)),
        ("codebooks.0.num_updates", (False, False)),
    ],
)
def test_what_counts_for_which(part, expected, processor):
    model = make()
    before = both(model, processor)
    model.state_dict()[part].view(-1)[-1] += 1
    assert changed(before, both(model, processor)) == expected


def test_every_tensor_but_the_statistics_counts(processor):
    model = make()
    for name, tensor in model.state_dict().items():
        before = both(model, processor)
        tensor.view(-1)[0] += 1
        statistics = name.endswith(("counts", "sums", "num_updates"))
        assert any(changed(before, both(model, processor))) != statistics, name


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"commitment_weight": 0.5, "prefix_weights": [0.3], "codebook_decay": 0.5}, (False, False)),
        ({"image_size": 24}, (False, True)),  # the size a whole-image code alone is drawn at
    ],
)
def test_settings(settings, expected, processor):
    assert changed(both(make(), processor), both(make(**settings), processor)) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"height": 16, "width": 24}},
        {"background": (0, 0, 0)},
        {"resample": 2},
        {"do_center_crop": False},
        {"do_resize": False},
        {"image_mean": (0.4, 0.5, 0.5)},
        {"do_pad": True},
        {"num_channels": 1},
    ],
)
def test_preprocessing_counts_for_codes(settings, processor):
    model, other = make(), ImageTokenizerImageProcessorPil(**({"size": SIZE} | settings))
    assert changed(both(model, processor), both(model, other)) == (True, False)


def test_settings_that_are_off_leave_fingerprints_as_they_were_without_them():
    found = preprocessing(ImageTokenizerImageProcessorPil(do_pad=False, num_channels=3))
    assert not {"do_pad", "num_channels"} & set(found)
    assert fingerprint({}, found) == "fa3fdc372a0e4cc397723d9d9a80306a7c02ff8f7b282734e1e85b5df39c4054"


def test_saving_and_loading_changes_neither(processor, tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = ImageTokenizer.from_pretrained(tmp_path)
    loaded_processor = ImageTokenizerImageProcessorPil.from_pretrained(tmp_path)
    assert both(loaded, loaded_processor) == both(model, processor)
    assert preprocessing(loaded_processor)["size"] == SIZE


def test_training_mode_and_steps_on_other_parts_do_not_matter(processor):
    model = make()
    before = both(model, processor)
    assert both(model.train(), processor) == before
    next(model.codebooks.parameters()).requires_grad_(True)
    assert both(model, processor) == before
