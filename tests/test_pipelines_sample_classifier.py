"""The classifier that learns from samples."""

import pytest
import torch
from torch.nn import functional as F

from pictogram.hub.errors import InputError
from pictogram.pipelines.sample_classifier import ClassifierRecipe, augment, train_classifier

QUICK = ClassifierRecipe(widths=(8, 16), num_steps=60, batch_size=16)


def bars(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(count, 1, 12, 12) upright and level bars with noise, and which each is."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % 2
    pixels = torch.randint(0, 60, (count, 1, 12, 12), generator=generator)
    places = torch.randint(3, 9, (count,), generator=generator).tolist()
    for picture, (place, is_level) in enumerate(zip(places, classes.tolist(), strict=True)):
        (pixels[picture, 0, place] if is_level else pixels[picture, 0, :, place]).fill_(220)
    return pixels.to(torch.uint8), classes


def test_it_learns_what_it_is_shown_and_the_same_again():
    learned, classes = bars(64, 0)
    measured, truth = bars(64, 1)
    models = [train_classifier(learned, classes, 2, seed=3, recipe=QUICK) for _ in range(2)]
    assert float((models[0].classify(measured) == truth).float().mean()) > 0.9
    for name, tensor in models[0].state_dict().items():
        assert torch.equal(tensor, models[1].state_dict()[name])


def test_labels_that_mean_nothing_teach_nothing():
    learned, classes = bars(64, 0)
    measured, truth = bars(200, 1)
    shuffled = classes[torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    model = train_classifier(learned, shuffled, 2, seed=3, recipe=QUICK)
    assert 0.3 < float((model.classify(measured) == truth).float().mean()) < 0.7


def test_training_leaves_the_global_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_classifier(*bars(8, 0), 2, seed=0, recipe=ClassifierRecipe(widths=(4,), num_steps=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_batch_does_not_change_what_a_picture_is_taken_for():
    learned, classes = bars(64, 0)
    model = train_classifier(learned, classes, 2, seed=3, recipe=QUICK)
    alone = torch.cat([model.features(picture[None]) for picture in learned[:4]])
    assert torch.allclose(alone, model.features(learned)[:4], atol=1e-5)
    assert model.chances(learned).sum(1).allclose(torch.ones(64))


def test_moved_pictures_repeat_their_border_and_channels_stay_together():
    pixels = torch.arange(2 * 3 * 5 * 6).view(2, 3, 5, 6).to(torch.uint8)
    recipe = ClassifierRecipe(most_shift=2, flip=True)
    moved = augment(pixels, torch.Generator().manual_seed(1), recipe)
    assert moved.shape == pixels.shape and moved.dtype == torch.uint8
    for picture, original in zip(moved, pixels, strict=True):
        padded = F.pad(original[None].float(), [2] * 4, mode="replicate")[0].to(torch.uint8)
        windows = [padded[:, top : top + 5, left : left + 6] for top in range(5) for left in range(5)]
        assert any(torch.equal(picture, each) or torch.equal(picture, each.flip(2)) for each in windows)
    assert torch.equal(augment(pixels, torch.Generator(), ClassifierRecipe(most_shift=0, flip=False)), pixels)


@pytest.mark.parametrize(("count", "num_classes"), [(0, 2), (4, 1)])
def test_it_needs_pictures_of_two_classes(count, num_classes):
    with pytest.raises(InputError, match=f"pictures of 2 classes, got {count} and {num_classes}"):
        train_classifier(*bars(count, 0), num_classes, seed=0)
