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
    assert "| settings | num_steps 5, seed 1 |" in section and "| versions | torch 2 |" in section
    assert "| image tokenizer | `owner/name` at `12` |" in section


def test_the_whole_chain():
    made = {"name": "tok", "revision": None, "provenance": replace(MADE, image_tokenizer=None).to_dict()}
    section = training_section(replace(MADE, image_tokenizer=made), CardFacts())
    assert "| image tokenizer | `tok` |\n| it learned from | 3 rows of `codes`" in section


def test_trainings_before():
    section = training_section(
        replace(MADE, settings={"num_steps": 2, "from": "ab"}, earlier=history(MADE)), CardFacts()
    )
    assert "| settings | num_steps 2 |" in section
    assert (
        "| earlier training | prior: 3 rows of `codes`, split `train`, fingerprint `ef`; num_steps 5, seed 1 |"
        in section
    )
    assert "it went on from" not in section


def test_a_training_before_that_nobody_wrote_down():
    for start in ({"from": "ab"}, {"start": ["ab"]}):
        section = training_section(replace(MADE, settings=start), CardFacts())
        assert "| it went on from | a trained model, `ab`, whose own training is not on record |" in section
    section = training_section(replace(MADE, settings={"start": ["ab", "cd"]}), CardFacts())
    assert "a trained model, `ab`, `cd`, whose" in section


def test_nothing_is_known():
    assert training_section(None, CardFacts()) == ""
    assert "provenance.json" not in training_section(None, CardFacts(data_license="MIT"))
