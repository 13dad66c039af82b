import json
import shutil
from dataclasses import replace

import pytest
from tiny_adapters import adapted
from tiny_chain import processor, tokenizer_folder
from tiny_pictures import noise_in_two_classes

from pictogram.hub.errors import InputError
from pictogram.pipelines.symbol_clusters import ClusterEvaluation, evaluate_clusters, verdict
from pictogram.tokenizer.cluster_statistics import BesideGaussian


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> str:
    return str(noise_in_two_classes(tmp_path_factory.mktemp("noise")))


def asked(noise: str) -> ClusterEvaluation:
    models = [str(tokenizer_folder(seed)) for seed in (0, 1)]
    return ClusterEvaluation(models, noise, num_clusters=2, num_draws=3, points_per_draw=60)


def test_every_level_of_every_tokenizer_is_measured(noise, tmp_path):
    report = evaluate_clusters(asked(noise), tmp_path)
    assert json.loads((tmp_path / "clusters.json").read_text()) == json.loads(json.dumps(report))
    assert [*report["models"]] == [str(tokenizer_folder(seed)) for seed in (0, 1)]
    for levels in report["models"].values():
        assert [level["num_points"] for level in levels] == [60, 240]
        assert all(level["verdict"] in ("yes", "partly", "no") and len(level["reasons"]) == 3 for level in levels)
        assert all(level["statistics"]["margin"]["points"] >= 1 for level in levels)
    (pair,) = report["agreement"]
    assert len(pair["levels"]) == 2 and all(-0.5 <= value <= 1 for value in pair["levels"][0].values())
    assert report["failures"] == ["test/dark/bad.png (not a picture PIL can read)"]
    assert report["protocol"]["num_images"] == 60


def test_a_tokenizer_agrees_with_itself_and_figures_repeat(noise, tmp_path):
    first, second = evaluate_clusters(asked(noise)), evaluate_clusters(asked(noise))
    assert first == second
    copy = shutil.copytree(tokenizer_folder(), tmp_path / "copy")
    twins = replace(asked(noise), models=[str(tokenizer_folder()), str(copy)])
    assert evaluate_clusters(twins)["agreement"][0]["levels"] == [{"codes": 1.0, "clusters": 1.0}] * 2


def statistics(hopkins: float, silhouette: float, stability: float) -> dict[str, BesideGaussian]:
    """Of points whose intervals are .02 wide, beside a Gaussian of Hopkins .5 and silhouette .05."""

    def beside(points: float, gaussian: float) -> BesideGaussian:
        return BesideGaussian(points, points - 0.01, points + 0.01, gaussian, gaussian - 0.01, gaussian + 0.01, 1.0)

    return {
        "hopkins": beside(hopkins, 0.5),
        "silhouette": beside(silhouette, 0.05),
        "stability": beside(stability, 0.3),
    }


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ((0.8, 0.2, 0.9), "yes"),
        ((0.8, 0.2, 0.4), "partly"),
        ((0.8, 0.08, 0.9), "partly"),
        ((0.51, 0.2, 0.9), "no"),
    ],
)
def test_the_verdict_says_yes_only_to_all_three(figures, word):
    found, reasons = verdict(statistics(*figures))
    assert found == word and len(reasons) == 3


def test_other_systems_tokenizers_are_refused(noise, tmp_path):
    adapted("llamagen").save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="is another system's tokenizer"):
        evaluate_clusters(replace(asked(noise), models=[str(tmp_path)]))


def test_what_cannot_be_measured_is_refused(noise):
    with pytest.raises(InputError, match="at least one image tokenizer"):
        ClusterEvaluation([], noise)
    with pytest.raises(InputError, match="num_draws must be at least 1, got 0"):
        replace(asked(noise), num_draws=0)
    with pytest.raises(InputError, match="num_clusters must be 2 to 7 with 30 points a draw, got 50"):
        evaluate_clusters(replace(asked(noise), num_clusters=50))
    with pytest.raises(InputError, match="no split 'other'"):
        evaluate_clusters(replace(asked(noise), split="other"))
