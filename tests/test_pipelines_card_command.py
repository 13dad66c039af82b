import json
import shutil

import pytest
import torch
import yaml
from PIL import Image
from tiny_chain import bundle_folder, codes_folder, tokenizer_folder

from pictogram.hub.card_facts import CardFacts
from pictogram.hub.errors import InputError
from pictogram.hub.files import read_json
from pictogram.hub.provenance import Provenance
from pictogram.lm.bundle import Bundle
from pictogram.pipelines.card_command import main
from pictogram.pipelines.picture_origin import read_origin
from pictogram.tokenizer.loading import load_image_tokenizer

FACTS = {"license_": "apache-2.0", "data_license": "of my own", "datasets": ["owner/pictures"]}


def metadata(folder) -> dict:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


@pytest.fixture
def folder(tmp_path):
    folder = shutil.copytree(bundle_folder(), tmp_path / "bundle")
    bundle = Bundle.from_pretrained(folder)
    Provenance(
        stage="prior",
        fingerprints={"bundle": bundle.fingerprint, "codes": bundle.vocabulary.codes_fingerprint},
        data={"name": "codes", "split": "train", "rows": 24, "fingerprint": "ab"},
        settings={"seed": 0},
        versions={},
        examples=["red apple", "sad face", "日本"],
    ).save(folder)
    return folder


def test_a_bundle_s_card_has_pictures_that_nobody_chose(folder, capsys):
    main(folder, name="owner/name", seed=3, json_output=True, **FACTS)
    assert json.loads(capsys.readouterr().out)["pictures"].endswith("samples.png")
    drawn = read_origin(folder / "samples.png")["pictures"]
    assert [(each["prompt"], each["seed"]) for each in drawn] == [("red apple", 3), ("sad face", 4), ("日本", 5)]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "](samples.png)" in card and 'draw("red apple"' in card and '.from_pretrained("owner/name")' in card
    assert metadata(folder)["license"] == "apache-2.0"
    first = (folder / "samples.png").read_bytes()
    main(folder, name="owner/name", seed=3)
    assert CardFacts.of_draft(folder) == CardFacts("apache-2.0", "of my own", ("owner/pictures",)), "said once"
    assert (folder / "samples.png").read_bytes() == first
    assert (folder / "README.md").read_text(encoding="utf-8") == card


def test_a_card_of_somebody_s_own_stays(folder):
    main(folder)
    card = folder / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "My own notes.\n", encoding="utf-8")
    (folder / "samples.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"README\.md is your own"):
        main(folder)
    assert "My own notes." in card.read_text(encoding="utf-8") and (folder / "samples.png").read_bytes() == b"mine"


def test_weights_that_changed_are_another_model_s(folder):
    bundle = Bundle.from_pretrained(folder)
    main(folder)
    with torch.no_grad():
        next(bundle.prior.parameters()).view(-1)[0] += 1
    bundle.prior.save_pretrained(folder)
    with pytest.raises(InputError, match=r"provenance\.json is another model's: its fingerprint of bundle differs"):
        main(folder)


def test_a_bundle_that_names_no_captions(folder):
    (folder / "provenance.json").unlink()
    main(folder)
    assert len(read_origin(folder / "samples.png")["pictures"]) == 16


def test_a_tokenizer_s_card(tmp_path, capsys):
    folder = shutil.copytree(tokenizer_folder(), tmp_path / "tokenizer")
    Image.new("RGB", (8, 8)).save(folder / "reconstructions.png")
    main(folder, **FACTS)
    assert "](reconstructions.png)" in (folder / "README.md").read_text(encoding="utf-8")
    assert metadata(folder)["datasets"] == ["owner/pictures"]
    assert load_image_tokenizer(folder).codes_fingerprint == load_image_tokenizer(tokenizer_folder()).codes_fingerprint


def test_codes_and_strangers(tmp_path):
    for folder in (codes_folder(), tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="holds no image tokenizer and no bundle"):
            main(folder)


def test_the_provenance_of_another_bundle_is_refused(folder):
    other = read_json(folder / "provenance.json")
    (folder / "provenance.json").write_text(json.dumps(other | {"fingerprints": {"codes": "ab"}}))
    with pytest.raises(InputError, match=r"provenance\.json is another model's"):
        Bundle.from_pretrained(folder)
