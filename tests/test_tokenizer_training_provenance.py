from tiny_adaptation import new_folder, pixels, tokenizer_folder

from pictogram.hub.provenance import history
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.training_provenance import learned_from, tokenizer_provenance


def test_what_was_learned_has_no_place_on_this_machine():
    dataset = pixels(new_folder(), "train")
    data = learned_from(str(new_folder()), "train", dataset)
    assert data == {
        "name": new_folder().name,
        "split": "train",
        "rows": len(dataset),
        "fingerprint": dataset.fingerprint,
    }
    assert len(dataset.fingerprint) == 16 and dataset.fingerprint == pixels(new_folder(), "train").fingerprint
    assert dataset.fingerprint != pixels(new_folder(), "test").fingerprint


def test_a_provenance_fits_its_tokenizer():
    loaded = load_image_tokenizer(tokenizer_folder())
    assert isinstance(loaded.model, ImageTokenizer)
    settings = {"stage": "tokenizer", "data": "/home/me/photos", "seed": 3}
    first = tokenizer_provenance(loaded.model, loaded.processor, data={"rows": 1}, settings=settings)
    first.check("here", loaded.fingerprints)
    assert (first.stage, first.data, first.settings["data"]) == ("tokenizer", {"rows": 1}, "photos")
    again = tokenizer_provenance(
        loaded.model, loaded.processor, data={"rows": 2}, settings=settings, earlier=history(first)
    )
    assert [each["data"] for each in history(again)] == [{"rows": 1}, {"rows": 2}]
