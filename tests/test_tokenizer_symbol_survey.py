import pytest
import torch
from tiny_chain import NUM_PICTURES, image_tokenizer, pictures, processor
from tiny_model import make

from pictogram.tokenizer.images import ClassLabels
from pictogram.tokenizer.level_latents import level_latents
from pictogram.tokenizer.pixel_dataset import load_pixels
from pictogram.tokenizer.symbol_survey import LevelSurvey, label_entropies, survey_symbols


def small() -> LevelSurvey:
    """Three pictures of two cells, four codes of which one is not used."""
    return LevelSurvey(torch.tensor([[0, 1], [1, 1], [3, 0]]), torch.tensor([[0.5, 0.2], [0.1, 0.3], [0.0, 0.4]]), 4)


def test_a_survey_holds_the_codes_of_encode_and_the_distances_of_their_latents():
    model, dataset = image_tokenizer(), load_pixels(str(pictures()), "train", processor())[0]
    surveys = survey_symbols(model, dataset, batch_size=7)
    codes = model.encode(dataset.pixels(range(NUM_PICTURES)))
    for level, (survey, latents) in enumerate(zip(surveys, level_latents(model, dataset), strict=True)):
        assert torch.equal(survey.codes, codes[level].flatten(1))
        expected = (latents.latents - model.code_vectors(level)[latents.codes]).square().mean(1)
        torch.testing.assert_close(survey.errors.flatten(), expected)
        assert survey.codebook_size == model.config.codebook_sizes[level]


@pytest.mark.parametrize("quantizer", ["ema", "l2", "fsq", "lfq"])
def test_by_the_survey_no_other_code_is_nearer_than_the_chosen_one(quantizer):
    model = make(quantizer=quantizer, codebook_sizes=[4, 8, 64] if quantizer != "fsq" else [3, 9, 64])
    dataset = load_pixels(str(pictures()), "train", processor())[0]
    latents = model.encoding(dataset.pixels(range(4))).next_latents()
    points = model.compared_latents(0, latents).flatten(1)[:, None]  # (4, 1, D)
    survey = survey_symbols(model, dataset)[0]
    table = model.embed_codes(0, torch.arange(model.config.codebook_sizes[0]).view(-1, 1, 1)).flatten(1)  # (K, D)
    distances = (points - table).square().mean(2)  # (4, K)
    torch.testing.assert_close(survey.errors[:4, 0], distances.amin(1))


def test_counts_and_mean_errors():
    assert small().counts.tolist() == [2, 3, 0, 1]
    assert small().mean_errors.tolist() == pytest.approx([0.45, 0.2, float("nan"), 0.0], nan_ok=True)


def test_examples_are_the_nearest_uses_and_a_picture_counts_once():
    assert small().examples(3).tolist() == [
        [[2, 1], [0, 0], [-1, -1]],
        [[1, 0], [0, 1], [-1, -1]],  # the second use in picture 1 is left out
        [[-1, -1]] * 3,
        [[2, 0], [-1, -1], [-1, -1]],
    ]
    assert small().examples(1)[1].tolist() == [[1, 0]]


def test_presence_and_labels():
    assert small().presence().int().tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 1]]
    labels = ClassLabels("label", ("cat", "dog"), torch.tensor([0, 1, -1]))
    counts = small().label_counts(labels)
    assert counts.tolist() == [[1, 0], [1, 2], [0, 0], [0, 0]]
    assert label_entropies(counts) == [0.0, pytest.approx(0.9183, abs=1e-4), None, None]
