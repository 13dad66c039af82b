from dataclasses import replace

from test_hub_provenance import MADE

from pictogram.hub.card_facts import CardFacts
from pictogram.hub.card_training import training_section
from pictogram.hub.provenance import history


def test_what_is_told():
    section = training_section(MADE, CardFacts(data_license="MIT"))
    assert section.startswith("\n## Training\n\n| what | which |")
    assert "| learned from | 3 rows of `codes`, split `train`, fingerprint `ef` |" in section
    assert "| license of the training data | MIT |" in section
    assert "| settings | prior: num_steps 5, seed 1 |" in section and "| versions | torch 2 |" in section
    assert "| image tokenizer | `owner/name` at `12` |" in section


def test_the_whole_chain():
    made = {"name": "tok", "revision": None, "provenance": replace(MADE, image_tokenizer=None).to_dict()}
    section = training_section(replace(MADE, image_tokenizer=made), CardFacts())
    assert "| image tokenizer | `tok` |\n| it learned from | 3 rows of `codes`" in section


def test_trainings_before():
    section = training_section(
        replace(MADE, settings={"num_steps": 2, "size": "nano", "from": "ab"}, earlier=history(MADE)), CardFacts()
    )
    assert "| settings | prior: num_steps 2 |" in section  # the size is that of the model before
    before = "3 rows of `codes`, split `train`, fingerprint `ef`; prior: num_steps 5, seed 1"
    assert section.count("it had learned before") == 1 and f"| it had learned before | {before} |" in section


def test_a_training_before_that_nobody_wrote_down():
    for start in ({"from": "ab"}, {"start": ["ab"]}):
        made = replace(MADE, settings=start)
        for section in (
            training_section(made, CardFacts()),
            training_section(replace(MADE, earlier=history(made)), CardFacts()),
        ):
            unknown = "| it had learned before | what made a model with the fingerprint `ab`, which is not on record |"
            assert unknown in section
    section = training_section(replace(MADE, settings={"start": ["ab", "cd"]}), CardFacts())
    assert "the fingerprint `ab`, `cd`, which" in section


def test_trainings_of_the_image_tokenizer_and_pictures_learned_again():
    first = replace(MADE, image_tokenizer=None, data=MADE.data | {"name": "photos"})
    again = replace(
        first, data=first.data | {"name": "new", "replayed": {"name": "old", "rows": 7}}, earlier=history(first)
    )
    entry = {"name": "tok", "revision": None, "provenance": again.to_dict()}
    section = training_section(replace(MADE, image_tokenizer=entry), CardFacts())
    assert "| it learned from | 3 rows of `new`, split `train`, fingerprint `ef`; again 7 rows of `old`" in section
    assert "| and before | 3 rows of `photos`, split `train`, fingerprint `ef`; prior: num_steps 5, seed 1 |" in section


def test_nothing_is_known():
    assert training_section(None, CardFacts()) == ""
    assert "provenance.json" not in training_section(None, CardFacts(data_license="MIT"))
