"""How rows learn."""

import torch
from tiny_adaptation import asked, new_folder, pixels, processor, trained
from tiny_model import ema_codebooks, pictures

from pictogram.tokenizer.adaptation_training import RowLearning, train_adaptation
from pictogram.tokenizer.growth import grow_codebooks


def test_learning_draws_the_new_pictures_better():
    model, dataset = trained(), pixels(new_folder(), "train")
    rows = [torch.arange(size) for size in model.config.codebook_sizes]
    images = dataset.pixels(range(24))

    def error() -> float:
        return float((model.decode(model.encode(images)) - images).square().mean())

    before = error()
    trained_numbers = train_adaptation(
        model, rows, [5, 6, 7], dataset, asked(mode="symbols", num_steps=30, batch_size=24)
    )
    assert trained_numbers == 18 * 4
    assert error() < 0.98 * before


def test_sums_say_what_rows_do():
    model, dataset = trained(), pixels(new_folder(), "train")
    train_adaptation(model, [torch.tensor([0]), torch.tensor([1, 2]), torch.tensor([3])], [5, 6, 7], dataset, asked())
    for codebook in ema_codebooks(model):
        assert torch.allclose(codebook.sums, codebook.embedding.weight * codebook.counts[:, None], atol=1e-5)


def test_rows_without_use_start_anew_in_the_first_half():
    far = torch.full((2, 4), 50.0)
    model = grow_codebooks(trained(), processor(), [torch.empty(0, 4), far, torch.empty(0, 4)])
    none = torch.empty(0, dtype=torch.int64)
    with torch.no_grad():
        ema_codebooks(model)[1].embedding.weight[0] = -60  # an old row, of no use either
    settings = asked(revive_every=1, num_steps=4, weight_decay=0.0)
    learning = RowLearning(model, [none, torch.tensor([0, 6, 7]), none], [5, 6, 7], settings)
    learning.step(0, pictures(4), torch.ones(4, 2))
    assert (model.code_vectors(1)[6:].abs() < 49).all(), "at latents of the batch"
    assert (model.code_vectors(1)[0] == -60).all(), "old rows stay"
    assert learning.uses[1].sum() == 0, "counted anew"
    uses = torch.bincount(model.encode(pictures(4))[1].flatten(), minlength=8)
    assert (uses[6:] > 0).all()
    with torch.no_grad():
        learning.levels[1].offsets += 1e4  # pyright: ignore
    learning.step(2, pictures(4), torch.ones(4, 2))
    assert (model.code_vectors(1)[6:].abs() > 49).all(), "in the second half they stay where they are"


def test_the_model_itself_gets_no_gradient():
    model = trained()
    learning = RowLearning(model, [torch.arange(2)] * 3, [5, 6, 7], asked())
    learning.step(0, pictures(4), torch.ones(4, 2))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(level.offsets.grad is not None for level in learning.levels)
