import pytest
from PIL import Image
from tiny_chain import tokenizer_folder
from tiny_pictures import noise_in_two_classes

from pictogram.hub.errors import InputError
from pictogram.pipelines import symbol_illustration
from pictogram.pipelines.symbol_clusters import ClusterEvaluation


def test_a_picture_a_level_with_classes_for_colours(tmp_path):
    what = ClusterEvaluation([str(tokenizer_folder())], str(noise_in_two_classes(tmp_path)))
    paths = symbol_illustration.illustrate(what, tmp_path)
    assert [path.name for path in paths] == ["tsne-0.png", "tsne-1.png"]
    assert all(Image.open(path).size == (960, 960) for path in paths)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(symbol_illustration.importlib.util, "find_spec", lambda name: None if name == "sklearn" else 1)
    with pytest.raises(InputError, match=r"needs scikit-learn: pip install scikit-learn"):
        symbol_illustration.check_illustrating()
