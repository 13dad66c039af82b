from pictogram.hub.card import card_text, write_draft_card
from pictogram.hub.card_facts import CardFacts, draft_metadata

FACTS = CardFacts("apache-2.0", "CC-BY-4.0, by their authors", ("owner/pictures",))


def test_facts_come_back_from_a_draft(tmp_path):
    assert CardFacts.of_draft(tmp_path) == CardFacts()
    write_draft_card(tmp_path, card_text({"library_name": "x", **FACTS.metadata()}, "words"))
    assert CardFacts.of_draft(tmp_path) == FACTS
    assert draft_metadata(tmp_path)["library_name"] == "x"


def test_a_card_of_somebody_s_own_says_nothing(tmp_path):
    write_draft_card(tmp_path, card_text(FACTS.metadata(), "words"))
    card = tmp_path / "README.md"
    card.write_text(card.read_text() + "more\n")
    assert CardFacts.of_draft(tmp_path) == CardFacts() and draft_metadata(tmp_path) == {}


def test_what_is_said_wins():
    said = CardFacts(license="mit")
    assert said.over(FACTS) == CardFacts("mit", FACTS.data_license, FACTS.datasets)
    assert CardFacts().metadata() == {}
