import yaml
from huggingface_hub import ModelCardData

from pictogram.hub.card import card_text
from pictogram.hub.card_figures import CardFigures, Figure, figures_section, limits_section, model_index

FIGURES = [
    Figure("text-to-image", "emoji", "test", "bits", "bits a picture", 81.123456),
    Figure("image-to-text", "emoji", "test", "accuracy", "names", 0.5),
    Figure("text-to-image", "emoji", "test", "name_accuracy", "recall", 1.0),
]


def test_the_hub_s_own_library_reads_it(tmp_path):
    card = card_text({"library_name": "pictogram", **model_index("noto", FIGURES)}, "words")
    data = ModelCardData(**yaml.safe_load(card.split("---\n")[1]))
    assert data.model_name == "noto"
    assert data.eval_results is not None
    found = {(each.task_type, each.dataset_name, each.metric_name, each.metric_value) for each in data.eval_results}
    assert found == {
        ("text-to-image", "emoji", "bits a picture", 81.1235),
        ("image-to-text", "emoji", "names", 0.5),
        ("text-to-image", "emoji", "recall", 1.0),
    }


def test_figures_of_a_task_and_split_lie_together():
    (entry,) = model_index("noto", FIGURES)["model-index"]
    assert [len(result["metrics"]) for result in entry["results"]] == [2, 1]
    assert model_index("noto", []) == {}


def test_sections():
    assert figures_section(CardFigures()) == ""
    both = CardFigures(["a"], FIGURES[:1], ["x"]) + CardFigures(["b"], FIGURES[1:], ["y"])
    assert figures_section(both) == "\n## Figures\n\na\n\nb\n"
    assert both.index == FIGURES and limits_section(both.limits) == "\n## Limits\n\n- x\n- y\n"
