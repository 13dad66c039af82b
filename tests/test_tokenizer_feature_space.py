import hashlib
import warnings

import pytest
import torch
from torch import nn

from pictogram.hub.errors import InputError
from pictogram.tokenizer.feature_space import FeatureSpace, load_feature_space


class Channels(nn.Module):
    """(B, 3, H, W) -> (B, 3): the mean of every channel."""

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return pixel_values.mean((2, 3))


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).float()


def torchscript(path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(Channels(), torch.zeros(2, 3, 8, 8)), path)
    return str(path)


def exported(path) -> str:
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Channels(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return str(path)


def test_thumbnails_are_means_over_cells():
    values = pixels(2, 3, 32, 16)
    space = load_feature_space("thumbnail")
    features = space.features(values)
    assert (space.name, space.sha256, features.shape, features.dtype) == ("thumbnail", None, (2, 192), torch.float64)
    cells = (values.double() / 127.5 - 1).view(2, 3, 8, 4, 8, 2).mean((3, 5))
    assert torch.allclose(features, cells.flatten(1), atol=1e-6)


def test_cells_of_sides_that_8_does_not_divide():
    values = pixels(1, 1, 28, 5)
    features = load_feature_space("thumbnail").features(values).view(8, 8)
    rows = [slice(i * 28 // 8, -(-(i + 1) * 28 // 8)) for i in range(8)]
    columns = [slice(i * 5 // 8, -(-(i + 1) * 5 // 8)) for i in range(8)]
    for i, j in ((0, 0), (3, 4), (7, 7), (2, 1)):
        expected = (values[0, 0, rows[i], columns[j]].double() / 127.5 - 1).mean()
        assert float(features[i, j]) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(("save", "name"), [(torchscript, "m.pt"), (exported, "m.pt2")])
def test_modules_of_the_user(save, name, tmp_path):
    space = load_feature_space(save(tmp_path / name))
    assert space.name == name
    assert space.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    values = pixels(5, 3, 8, 8)
    expected = (values / 127.5 - 1).mean((2, 3))
    assert torch.allclose(space.features(values).float(), expected, atol=1e-6)
    grey = space.features(values[:, :1])
    assert torch.allclose(grey.float(), expected[:, :1].expand(-1, 3), atol=1e-6)


def test_features_that_cannot_be_used(tmp_path):
    def space(function) -> FeatureSpace:
        return FeatureSpace("mine", None, function)

    values = pixels(2, 3, 8, 8)
    with pytest.raises(InputError, match=r"mine must be a tensor \(2, F\), got \(2, 3, 8, 8\)"):
        space(lambda x: x).features(values)
    with pytest.raises(InputError, match=r"must be a tensor \(2, F\), got tuple"):
        space(lambda x: (x,)).features(values)
    with pytest.raises(InputError, match="must be finite"):
        space(lambda x: x.mean((2, 3)) / 0).features(values)
    with pytest.raises(InputError, match=r"mine failed on pictures \(2, 3, 8, 8\): "):
        space(lambda x: x @ torch.zeros(3, 3)).features(values)


def test_files_that_hold_no_module(tmp_path):
    with pytest.raises(InputError, match='must be "thumbnail" or a file'):
        load_feature_space(tmp_path / "no.pt")
    for name in ("bad.pt", "bad.pt2"):
        (tmp_path / name).write_text("no module")
        with pytest.raises(InputError, match=r"cannot be loaded as a TorchScript or torch\.export module"):
            load_feature_space(tmp_path / name)
