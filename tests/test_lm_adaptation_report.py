"""What an adaptation tells of itself."""

import copy
from dataclasses import replace

import pytest
import torch
from tiny_chain import codes_folder, shared_bundle
from tiny_codec import static_chances
from tiny_grown import grown, grown_codes_folder

from pictogram import load_codes
from pictogram.lm.adaptation_report import (
    Fingerprints,
    adaptation_report,
    image_rate,
    rates_of_new_pictures,
    rates_of_old_pictures,
)
from pictogram.lm.bundle import Bundle
from pictogram.lm.grow import new_ids
from pictogram.lm.image_bits import measure_images


def learned(start: Bundle, name: str = "lm_head", row: int = -1) -> Bundle:
    """With one row that is another."""
    prior = copy.deepcopy(start.prior)
    with torch.no_grad():
        next(tensor for key, tensor in prior.named_parameters() if name in key)[row] += 0.5
    return replace(start, prior=prior)


def test_what_changed_and_what_did_not():
    before = replace(shared_bundle("level"), static_chances=static_chances())
    start = grown(before)
    after, size = learned(start), before.vocabulary.vocab_size
    report = adaptation_report(before, start, after, new_ids(start, before), moves_trunk=False)
    assert (report["rows_appended"], report["rows_moved"], report["rows_kept"]) == ([2, 3], 5, size)
    for part in report["sha256"].values():
        assert part["before"] == part["after"] and len(part["before"]) == 64
    width, total = 32, sum(tensor.numel() for tensor in after.prior.parameters())
    assert report["parameters"] == {"total": total, "changed": width, "changed_share": width / total}
    assert report["ancestors"] == [each.to_json() for each in start.vocabulary.ancestors] and report["lost_tables"]


@pytest.mark.parametrize(("name", "row"), [("lm_head", 3), ("embed_tokens", 0), ("q_proj", 0)])
def test_what_may_not_move_is_a_loud_error(name, row):
    before = shared_bundle("level")
    start = grown(before)
    after = learned(start, name, row)
    with pytest.raises(RuntimeError, match="weights moved that must not"):
        adaptation_report(before, start, after, new_ids(start, before), moves_trunk=False)
    if name == "q_proj":
        report = adaptation_report(before, start, after, new_ids(start, before), moves_trunk=True)
        assert report["sha256"]["trunk"]["before"] != report["sha256"]["trunk"]["after"]
    else:  # rows that were free to move are no error
        adaptation_report(before, start, after, [row, *new_ids(start, before)], moves_trunk=False)


def test_fingerprints_are_of_rows_and_of_the_rest():
    start = grown(shared_bundle("level"))
    whole, other = Fingerprints.of(start.prior, range(9)), Fingerprints.of(learned(start, row=9).prior, range(9))
    assert whole == other != Fingerprints.of(learned(start, row=8).prior, range(9))


def test_rates_of_old_pictures_are_the_same_where_they_are_read_as_before():
    before = shared_bundle("level")
    after, codes = learned(grown(before)), load_codes(codes_folder())
    found = rates_of_old_pictures(before, after, codes, 10)
    bits, levels = found["bits_per_image"], found["level_bits"]
    assert bits["after_restricted"] == bits["before"] < bits["after"]
    assert levels["after_restricted"] == levels["before"]
    assert found["relative_change"]["after_restricted"] == 0 < found["relative_change"]["after"]
    assert found["images"] == 10 and found["split"] == "train"


def test_rates_of_new_pictures():
    start = grown(shared_bundle("level"))
    codes = load_codes(grown_codes_folder())
    found = rates_of_new_pictures(start, learned(start), codes, 1000)
    assert {*found["bits_per_image"]} == {"before", "after"} and found["images"] == 16
    expected = measure_images(start, codes, range(16)).codes.sum(1).mean()
    assert found["bits_per_image"]["before"] == pytest.approx(float(expected), rel=1e-6)
    assert image_rate(start, codes, range(16)).image_bits == found["bits_per_image"]["before"]
