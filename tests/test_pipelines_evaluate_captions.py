import json
from dataclasses import replace

import pytest
from tiny_chain import bundle, bundle_folder, codes_folder, pictures, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.lm.estimates import estimate
from pictogram.lm.image_bits import measure_images
from pictogram.pipelines import evaluate_captions as module
from pictogram.pipelines.evaluate_captions import evaluate_captions, write_captions
from pictogram.pipelines.evaluation_input import EvaluationInput
from pictogram.pipelines.image_to_text import ImageToTextPipeline
from pictogram.tokenizer.codes_dataset import load_codes


def test_codes_are_described_as_their_pictures_are():
    expected = ImageToTextPipeline(shared_bundle())(sorted(pictures().glob("*.png")), max_new_tokens=20).captions
    assert len(set(expected)) > 1
    assert write_captions(shared_bundle(), load_codes(codes_folder()), range(16), 20) == expected


def test_the_report_of_a_split(tmp_path):
    found = evaluate_captions(str(bundle_folder()), str(codes_folder()), "train", output=str(tmp_path / "found.json"))
    bits = measure_images(shared_bundle(), load_codes(codes_folder()), range(16))
    assert found["num_images"] == 14
    assert found["exact_match"]["value"] == 0  # the prior is untrained
    assert found["caption_given_codes"]["per_byte"] == estimate(bits.caption_given_codes, bits.caption_bytes).to_dict()
    assert [example["true"] for example in found["examples"][:3]] == ["red apple", "green pear", "blue plum"]
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8")) == found
    again = evaluate_captions(str(bundle_folder()), str(codes_folder()), "train", batch_size=3)
    assert again["examples"] == found["examples"]


def test_only_the_whole_caption_counts(monkeypatch):
    codes = load_codes(codes_folder())

    def almost(bundle, codes, rows, max_new_tokens) -> list[str]:
        texts = [codes.captions(row)[0] for row in rows]
        return [text if row % 2 else text + "s" for row, text in zip(rows, texts, strict=True)]

    monkeypatch.setattr(module, "write_captions", almost)
    found = evaluate_captions(str(bundle_folder()), str(codes_folder()), "train", batch_size=4)
    odd = [row for row in range(16) if codes.captions(row)[0] and row % 2]
    assert found["exact_match"]["value"] == pytest.approx(len(odd) / 14)
    low, high = found["exact_match"]["interval"]
    assert low < len(odd) / 14 < high


def test_any_caption_of_the_picture_will_do(monkeypatch):
    codes, limits = load_codes(codes_folder()), []

    def second(bundle, codes, rows, max_new_tokens) -> list[str]:
        limits.append(max_new_tokens)
        return [codes.captions(row)[1] for row in rows]

    longer = " ".join(["red"] * 10)
    table = codes.dataset.remove_columns("caption").add_column("caption", [["red", longer]] * 16)
    given = EvaluationInput(shared_bundle(), replace(codes, dataset=table), list(range(16)), {})
    monkeypatch.setattr(module, "write_captions", second)
    monkeypatch.setattr(EvaluationInput, "open", lambda *_: given)
    found = evaluate_captions("bundle", "codes", "train")
    assert found["exact_match"]["value"] == 1
    assert found["examples"][0] == {"key": codes.keys[0], "true": "red", "written": longer}
    assert limits == [len(shared_bundle().text_tokenizer.encode(longer)) + 1]


def test_captions_that_do_not_fit_are_left_out(tmp_path):
    bundle(max_length=30).save_pretrained(tmp_path / "bundle")
    found = evaluate_captions(str(tmp_path / "bundle"), str(codes_folder()), "train")
    assert 0 < found["num_images"] < 14
    assert found["caption_given_codes"]["per_caption"]["num_images"] == found["num_images"]


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        evaluate_captions(str(bundle_folder()), str(codes_folder()), "train", batch_size=0)
    bundle(max_length=10).save_pretrained(tmp_path / "bundle")  # no room for words
    with pytest.raises(InputError, match="split train has no captions to compare with"):
        evaluate_captions(str(tmp_path / "bundle"), str(codes_folder()), "train")
