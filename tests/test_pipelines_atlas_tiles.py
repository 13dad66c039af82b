import pytest
import torch
from tiny_chain import NUM_PICTURES, image_tokenizer, pictures, processor

from pictogram.pipelines.atlas_tiles import AtlasPictures
from pictogram.tokenizer.image_processor import to_8bit
from pictogram.tokenizer.pixel_dataset import load_pixels
from pictogram.tokenizer.symbol_survey import survey_symbols


@pytest.fixture(scope="module")
def made() -> AtlasPictures:
    model, dataset = image_tokenizer(), load_pixels(str(pictures()), "train", processor())[0]
    return AtlasPictures(model, dataset, survey_symbols(model, dataset))


def used(made: AtlasPictures, level: int) -> int:
    return int(made.surveys[level].counts.argmax())


def test_the_whole_image_code(made):
    symbol = used(made, 0)
    examples = made.surveys[0].examples(2)[symbol]
    tiles = made.tiles(0, symbol, examples, [1, 2])
    codes = [torch.full((1, 1, 1), symbol), torch.zeros(1, 2, 2, dtype=torch.int64)]
    assert torch.equal(tiles.prototype, to_8bit(made.model.decode(codes, 1))[0].byte())
    row = int(examples[0, 0])
    assert torch.equal(tiles.examples[0], to_8bit(made.dataset[row]).byte())
    whole = made.model.encode(made.dataset.pixels([row]))
    assert tiles.original is not None
    assert torch.equal(tiles.original, to_8bit(made.model.decode(whole))[0].byte())
    swapped = to_8bit(made.model.decode([torch.ones(1, 1, 1, dtype=torch.int64), whole[1]]))[0]
    assert torch.equal(tiles.swapped[0], swapped.byte())
    change = (swapped - to_8bit(made.model.decode(whole))[0]).square().mean().sqrt()
    assert tiles.changes[0] == pytest.approx(float(change), abs=1e-4)


def test_a_code_of_a_grid_is_shown_with_half_a_cell_around_it(made):
    symbol = used(made, 1)
    tiles = made.tiles(1, symbol, torch.tensor([[3, 0], [5, 3], [-1, -1]]), [0])
    assert tiles.prototype.shape == tiles.swapped[0].shape == (3, 16, 16)  # two cells of a 2x2 grid are all of it
    assert [example.shape for example in tiles.examples] == [(3, 16, 16)] * 2
    decoded = to_8bit(made.model.decode(made.model.encode(made.dataset.pixels([3, 5]))))
    assert torch.equal(tiles.prototype, decoded.mean(0).round().byte())


def test_windows_stay_inside_the_picture(made):
    picture = torch.arange(16 * 16).view(1, 16, 16)
    wide = AtlasPictures.__new__(AtlasPictures)
    wide.grids, wide.height, wide.width = ((1, 1), (4, 4)), 16, 16
    assert wide._around(1, 0, picture)[0, 0, 0] == 0
    assert wide._around(1, 5, picture)[0, 0, 0] == 2 * 16 + 2
    assert wide._around(1, 15, picture)[0, -1, -1] == 255
    assert wide._around(0, 0, picture).shape == (1, 16, 16)


def test_symbols_that_nobody_used(made):
    nobody = torch.full((2, 2), -1)
    tiles = made.tiles(1, 0, nobody, [1])
    assert (tiles.examples, tiles.original, tiles.swapped, tiles.changes) == ([], None, [], [])
    assert tiles.prototype.unique().tolist() == [128]
    assert made.tiles(0, 0, nobody, [1]).prototype.shape == (3, 16, 16)
    assert len(made.dataset) == NUM_PICTURES
