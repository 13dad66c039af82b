import pytest
import torch
from tiny_apps import model
from tiny_bundles import bundle_around

from pictogram.hub.errors import InputError
from pictogram.pipelines.app_actions import DrawnPicture, Sampling, draw
from pictogram.pipelines.app_model import AppModel
from pictogram.pipelines.app_symbols import Place, alternatives, prototypes, swap
from pictogram.tokenizer.image_processor import to_images


def drawn(words: str = "red apple", order: str = "level") -> DrawnPicture:
    return list(draw(model(order), words, Sampling(1, 4)))[-1].pictures()[0]


def test_prototypes_are_the_first_level_alone():
    found = prototypes(model())
    assert [symbol.code for symbol in found] == list(range(5))
    decoded = to_images(model().bundle.image_tokenizer.decode([torch.tensor([[[3]]])], 1))[0]
    assert found[3].image.tobytes() == decoded.tobytes()
    assert sum(symbol.chance or 0 for symbol in found) == pytest.approx(1)


def test_prototypes_by_chance_and_behind_words():
    by_chance = prototypes(model(), by_chance=True)
    chances = [symbol.chance or 0 for symbol in by_chance]
    assert chances == sorted(chances, reverse=True)
    said = {symbol.code: symbol.chance for symbol in prototypes(model(), "red apple")}
    assert said != {symbol.code: symbol.chance for symbol in by_chance}
    bits = model().draw("red apple", symbol=3).level_bits[0, 0]
    assert said[3] == pytest.approx(2 ** -float(bits))


def test_models_without_symbols():
    for other in (AppModel(bundle_around([8, 4])), model("pyramid")):
        with pytest.raises(InputError, match="no code for the whole image that decodes alone"):
            prototypes(other)


@pytest.mark.parametrize("order", ["level", "pyramid"])
@pytest.mark.parametrize("place", [Place(0, 0, 0), Place(1, 1, 0), Place(2, 3, 2)])
def test_alternatives_have_the_priors_own_chances(order, place):
    picture = drawn(order=order)
    old = int(picture.codes[place.level][0, place.row, place.column])
    found = alternatives(model(order), picture, place)
    assert {symbol.code for symbol in found} == {*range(model().codebook_sizes[place.level])} - {old}
    chances = [symbol.chance or 0 for symbol in found]
    assert chances == sorted(chances, reverse=True) and 0 < sum(chances) < 1
    changed = swap(model(order), picture, place, found[0].code)
    assert found[0].image.tobytes() == changed.after.tobytes()
    assert len(alternatives(model(order), picture, place, count=2)) == 2


def test_chances_agree_with_the_bits_of_drawing():
    picture = drawn()
    output = model().draw(picture.words, coarse_codes=picture.codes)
    last = Place(0, 0, 0)
    left = 1 - sum(symbol.chance or 0 for symbol in alternatives(model(), picture, last))
    assert left == pytest.approx(2 ** -float(output.level_bits[0, 0]))


@pytest.mark.parametrize("place", [Place(0, 0, 0), Place(1, 0, 1), Place(2, 2, 2)])
def test_a_swap_changes_one_code(place):
    picture = drawn()
    old = int(picture.codes[place.level][0, place.row, place.column])
    new = (old + 1) % model().codebook_sizes[place.level]
    done = swap(model(), picture, place, new)
    assert done.codes == (old, new) and done.before.tobytes() == picture.image.tobytes()
    differing = [(a != b).nonzero().tolist() for a, b in zip(picture.codes, done.picture.codes, strict=True)]
    assert differing == [[[0, place.row, place.column]] if level == place.level else [] for level in range(3)]
    assert done.picture.image is done.after and done.picture.words == "red apple"
    again = model().draw("red apple", coarse_codes=done.picture.codes)
    assert done.bits[1] == pytest.approx(float(again.bits[0]))
    assert 0 <= done.visible <= 1 and 0 <= done.inside <= 1.0001
    assert max(done.change.tobytes()) == 255
    if place.level == 0:
        assert done.inside == pytest.approx(1)


def test_the_same_code_again_changes_nothing():
    picture = drawn()
    done = swap(model(), picture, Place(0, 0, 0), int(picture.codes[0]))
    assert done.visible == done.inside == 0 and max(done.change.tobytes()) == 0
    assert done.bits[0] == done.bits[1]


@pytest.mark.parametrize(
    ("place", "code", "message"),
    [
        (Place(3, 0, 0), 0, "there is no level 3; the picture has 3"),
        (Place(-1, 0, 0), 0, "there is no level -1"),
        (Place(1, 2, 0), 0, "row 2, column 0 lies outside the grid of 2x2"),
        (Place(1, 0, -1), 0, "lies outside"),
        (Place(1, 0, 0), 6, "the code must be a whole number from 0 to 5, got 6"),
        (Place(1, 0, 0), "", "the code must be a whole number from 0 to 5, got nothing"),
    ],
)
def test_places_and_codes_that_are_not_there(place, code, message):
    with pytest.raises(InputError, match=message):
        swap(model(), drawn(), place, code)
