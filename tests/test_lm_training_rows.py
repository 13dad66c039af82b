import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_chain import bundle, bundle_folder, codes_folder, shared_bundle, text_tokenizer, tokenizer_folder
from tiny_evaluations import provenance

from pictogram.hub.errors import InputError
from pictogram.hub.files import read_json, write_json
from pictogram.lm.bundle import Bundle
from pictogram.lm.document_dataset import write_documents
from pictogram.lm.documents import ImageSegment, build_document, images_to_ids
from pictogram.lm.text_tokenizer import TextTokenizer, train_text_tokenizer
from pictogram.lm.training_config import PriorTrainingConfig
from pictogram.lm.training_rows import open_rows
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.loading import LoadedImageTokenizer, load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer


def config(**changes: Any) -> PriorTrainingConfig:
    return PriorTrainingConfig(**{"codes": str(codes_folder()), "tokenizer": str(tokenizer_folder()), **changes})


def documents(folder: Path) -> str:
    """Pictures without words, in the shared bundle's vocabulary."""
    vocabulary = shared_bundle().vocabulary
    ids = images_to_ids(vocabulary, load_codes(codes_folder()).codes(range(4))).tolist()
    pictures = [build_document(vocabulary, [ImageSegment(tuple(row), "2x2")]) for row in ids]
    write_documents(pictures, folder, vocabulary, text_tokenizer())
    return str(folder)


def test_documents_in_another_text_tokenizer_of_equal_size_are_refused(tmp_path):
    other = TextTokenizer(train_text_tokenizer(["violet mango kiwi lemon winking banner truck ship tower"] * 20, 290))
    replace(bundle(), text_tokenizer=other).save_pretrained(tmp_path / "other")
    written = documents(tmp_path / "documents")
    assert len(open_rows(config(documents=written, from_bundle=str(bundle_folder()))).trained.shard_sizes) == 1
    with pytest.raises(InputError, match="is not written in the text tokenizer of"):
        open_rows(config(documents=written, from_bundle=str(tmp_path / "other")))


def test_a_bundle_with_another_decoder_reads_the_documents(tmp_path):
    sharper = load_image_tokenizer(sharper_folder(tmp_path))
    vocabulary = replace(bundle().vocabulary, decoder_fingerprint=sharper.fingerprints["decoder"])
    replace(bundle(), vocabulary=vocabulary, image_tokenizer=sharper.model).save_pretrained(tmp_path / "bundle")
    rows = open_rows(config(documents=documents(tmp_path / "documents"), from_bundle=str(tmp_path / "bundle")))
    assert rows.image_tokenizer.fingerprints == sharper.fingerprints


def sharper_folder(tmp_path: Path) -> Path:
    """The tiny chain's tokenizer, whose decoder learned on; so pictures have the codes that they had."""
    folder = Path(shutil.copytree(tokenizer_folder(), tmp_path / "sharper"))
    model = ImageTokenizer.from_pretrained(folder)
    next(weight for name, weight in model.named_parameters() if name.startswith("decoder.")).data.add_(0.1)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("share", "counts"), [(1e-6, "16 rows to learn and 0"), (1 - 1e-6, "0 rows to learn and 16")])
def test_a_share_that_leaves_one_part_empty_is_named(share: float, counts: str):
    with pytest.raises(InputError, match=rf"holdout_share \S+ leaves {counts} to score, expected at least one of each"):
        open_rows(config(holdout_share=share))


def test_the_provenance_of_another_tokenizer_is_refused_before_any_work(tmp_path):
    folder = sharper_folder(tmp_path)
    provenance(load_image_tokenizer(folder)).save(folder)
    assert open_rows(config(tokenizer=str(folder))).image_tokenizer.provenance is not None
    provenance(load_image_tokenizer(tokenizer_folder())).save(folder)
    with pytest.raises(InputError, match=r"sharper/provenance\.json is another model's: its fingerprint of decoder"):
        open_rows(config(tokenizer=str(folder)))


@pytest.fixture
def known(tmp_path) -> Path:
    """A bundle that tells what its image tokenizer came from."""
    folder = Path(shutil.copytree(bundle_folder(), tmp_path / "bundle"))
    made = provenance(load_image_tokenizer(folder / "image_tokenizer"))
    entry = {"name": "owner/photos", "revision": "ab", "provenance": made.to_dict()}
    prints = {"bundle": Bundle.from_pretrained(folder).fingerprint, "codes": made.fingerprints["codes"]}
    replace(made, stage="prior", fingerprints=prints, image_tokenizer=entry).save(folder)
    return folder


def told(loaded: LoadedImageTokenizer) -> tuple[str, str | None, str | None]:
    return loaded.name, loaded.revision, loaded.provenance and loaded.provenance.data["name"]


def test_a_bundle_hands_on_its_own_training(known: Path):
    rows = open_rows(config(from_bundle=str(known)))
    assert [each["stage"] for each in rows.earlier] == ["prior"]
    assert rows.data["name"] == codes_folder().name and rows.data["fingerprint"] == rows.content
    content = read_json(known / "provenance.json")
    content["fingerprints"]["bundle"] = "ab"
    write_json(known / "provenance.json", content)
    with pytest.raises(InputError, match="another model's: its fingerprint of bundle differs; delete it if"):
        open_rows(config(from_bundle=str(known)))


def test_a_bundle_hands_on_what_it_knows_of_its_tokenizer(known: Path):
    assert told(open_rows(config(from_bundle=str(known))).image_tokenizer) == ("owner/photos", "ab", "embedded")
    (known / "provenance.json").unlink()
    assert told(open_rows(config(from_bundle=str(known))).image_tokenizer) == (str(known), None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"provenance": {"stage": "tokenizer"}}, "image_tokenizer, does not say how a model came to be"),
        ({"fingerprints": {"codes": "ab", "decoder": "cd"}}, "is another model's: its fingerprint of codes differs"),
    ],
)
def test_what_a_bundle_says_of_another_tokenizer_is_refused(known: Path, change: dict[str, Any], message: str):
    content = read_json(known / "provenance.json")
    entry = content["image_tokenizer"]
    (entry if "provenance" in change else entry["provenance"]).update(change)
    write_json(known / "provenance.json", content)
    with pytest.raises(InputError, match=message):
        open_rows(config(from_bundle=str(known)))
