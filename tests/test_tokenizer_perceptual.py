import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import ConvNextConfig, ConvNextModel, ResNetBackbone, ResNetConfig, ViTConfig, ViTModel

from pictogram.hub.errors import InputError
from pictogram.tokenizer.perceptual import PerceptualLoss, TransformersFeatures, load_extractor


def pictures(count: int = 2, channels: int = 3, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Two(nn.Module):
    """Two layers of features, as a list or as `kind` makes of it; batch statistics that must not move."""

    def __init__(self, kind: Callable = list):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4)
        self.second, self.kind = nn.Conv2d(4, 6, 3), kind

    def forward(self, pixel_values):
        first = self.norm(self.first(pixel_values)).relu()
        layers = [first, self.second(first)]
        return dict(enumerate(layers)) if self.kind is dict else self.kind(layers)


class Returns(nn.Module):
    """Any function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, pixel_values):
        return self.function(pixel_values)


# The loss


@pytest.mark.parametrize("kind", [list, tuple, dict, lambda layers: layers[1]])
def test_equal_pictures_are_at_distance_zero_and_others_are_not(kind):
    loss = PerceptualLoss(Two(kind))
    assert float(loss(pictures(), pictures())) == 0
    assert float(loss(pictures(seed=1), pictures())) > 1e-3


def test_by_hand():
    # Channels as features: at each position the squared distance of unit vectors is 2 - 2 cos.
    loss, right, up = PerceptualLoss(nn.Identity()), torch.tensor([1.0, 0, 0]), torch.tensor([0, 5.0, 0])
    for other, expected in ((7 * right, 0), (right + up / 5, 2 - math.sqrt(2)), (up, 2), (-right, 4)):
        planes = (vector[None, :, None, None].expand(2, 3, 4, 4) for vector in (right, other))
        assert float(loss(*planes)) == pytest.approx(expected, abs=1e-6)


def test_it_is_the_mean_over_pictures_and_positions():
    loss, found, wanted = PerceptualLoss(Two()), pictures(4), pictures(4, seed=1)
    each = [float(loss(found[index : index + 1], wanted[index : index + 1])) for index in range(4)]
    assert float(loss(found, wanted)) == pytest.approx(sum(each) / 4, rel=1e-5)
    constant = torch.zeros(1, 3, 4, 4)
    constant[:, 0] = 1
    one_off = constant.clone()
    one_off[:, :, 0, 0] = torch.tensor([0.0, 1, 0])  # orthogonal at one position of 16
    assert float(PerceptualLoss(nn.Identity())(one_off, constant)) == pytest.approx(2 / 16, abs=1e-6)


def test_vectors_of_a_whole_picture_are_features_too():
    loss = PerceptualLoss(Returns(lambda pixels: pixels.mean((2, 3))))
    assert 0 < float(loss(pictures(seed=1), pictures())) < 4


def test_layers_add_up_and_weights_scale_linearly():
    arguments = pictures(seed=1), pictures()
    first, second = (float(PerceptualLoss(Two(), weights)(*arguments)) for weights in ([1, 0], [0, 1]))
    assert float(PerceptualLoss(Two())(*arguments)) == pytest.approx(first + second)
    assert float(PerceptualLoss(Two(), [3, 0.5])(*arguments)) == pytest.approx(3 * first + 0.5 * second)


def test_the_gradient_reaches_the_reconstruction_only():
    loss, reconstruction = PerceptualLoss(Two()), pictures(seed=1).requires_grad_()
    wanted = pictures().requires_grad_()
    loss(reconstruction, wanted).backward()
    assert reconstruction.grad is not None and reconstruction.grad.abs().sum() > 0
    assert wanted.grad is None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in loss.parameters())


def test_the_gradient_stays_finite_where_there_is_nothing_to_see():
    black = torch.zeros(1, 3, 4, 4, requires_grad=True)
    PerceptualLoss(nn.Identity())(black, torch.ones(1, 3, 4, 4)).backward()
    assert black.grad is not None and black.grad.isfinite().all()


def test_the_extractor_never_changes_not_even_its_batch_statistics():
    extractor = Two()
    before = {name: tensor.clone() for name, tensor in extractor.state_dict().items()}
    loss = PerceptualLoss(extractor).train()
    assert not extractor.training
    loss(pictures(seed=1).requires_grad_(), pictures()).backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in extractor.state_dict().items())


def test_descending_it_makes_pictures_alike():
    loss, wanted = PerceptualLoss(Two()), pictures()
    found = pictures(seed=1).requires_grad_()
    first = float(loss(found.detach(), wanted))
    optimizer = torch.optim.Adam([found], lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        loss(found, wanted).backward()
        optimizer.step()
    assert float(loss(found.detach(), wanted)) < 0.5 * first


def test_fingerprints_tell_extractors_apart():
    prints = {PerceptualLoss(Two()).fingerprint(), PerceptualLoss(Two(), [1, 2]).fingerprint()}
    changed = Two()
    nn.init.zeros_(changed.first.weight)
    prints |= {PerceptualLoss(changed).fingerprint(), PerceptualLoss(Two()).fingerprint()}
    assert len(prints) == 3


def test_fingerprints_tell_layers_apart_whose_weights_are_alike(tmp_path):
    convolution = nn.Conv2d(3, 4, 3)
    strided = nn.Conv2d(3, 4, 3, stride=2)
    strided.load_state_dict(convolution.state_dict())
    assert PerceptualLoss(convolution).fingerprint() != PerceptualLoss(strided).fingerprint()


# Mistakes


@pytest.mark.parametrize("weights", [[-1.0, 1.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_weights_out_of_range(weights):
    with pytest.raises(InputError, match="finite and at least 0"):
        PerceptualLoss(Two(), weights)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda pixels: pixels * math.nan, "returns NaN or infinity"),
        (lambda pixels: [pixels, pixels / 0.0], "returns NaN or infinity"),
        (lambda pixels: "features", r"must return float tensors .* got str"),
        (lambda pixels: None, "got NoneType"),
        (lambda pixels: [], "got list of nothing"),
        (lambda pixels: (pixels, 3), "got tuple of torch.float32 .*, int"),
        (lambda pixels: pixels.long(), "got torch.int64"),
        (lambda pixels: pixels.mean((1, 2, 3)), r"got torch.float32 \(2,\)"),
        (lambda pixels: pixels.mean(0), r"got torch.float32 \(3, 8, 8\)"),
        (lambda pixels: pixels.detach(), "no gradient"),
        (lambda pixels: pixels @ torch.ones(5, 5), r"fails on pictures of shape \(2, 3, 8, 8\): "),
        (lambda pixels: [][0], "fails on pictures .*: list index out of range"),
    ],
)
def test_extractors_that_do_not_serve(function, message):
    with pytest.raises(InputError, match=message):
        PerceptualLoss(Returns(function)).check(3, 8)


def test_weights_for_other_layers():
    with pytest.raises(InputError, match="2 layers, but 3 weights"):
        PerceptualLoss(Two(), [1, 1, 1]).check(3, 8)


def test_a_good_extractor_passes_and_one_for_colours_refuses_grey():
    PerceptualLoss(Two()).check(3, 8)
    with pytest.raises(InputError, match=r"fails on pictures of shape \(2, 1, 8, 8\): .*channels"):
        PerceptualLoss(Two()).check(1, 8)


# Files


def save_torchscript(module: nn.Module, path) -> None:
    torch.jit.save(torch.jit.trace(module, pictures()), path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript(tmp_path):
    module = Two(tuple).eval()
    save_torchscript(module, tmp_path / "features.pt")
    loss = PerceptualLoss(load_extractor(str(tmp_path / "features.pt"))).train()
    loss.check(3, 8)
    arguments = pictures(seed=1), pictures()
    torch.testing.assert_close(loss(*arguments), PerceptualLoss(module)(*arguments))
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    again = PerceptualLoss(load_extractor(str(tmp_path / "features.pt")))
    assert loss.fingerprint() == again.fingerprint()
    prints = set()
    for name, layer in (("rectified", nn.ReLU()), ("squashed", nn.Tanh())):
        save_torchscript(layer, tmp_path / f"{name}.pt")
        prints.add(PerceptualLoss(load_extractor(str(tmp_path / f"{name}.pt"))).fingerprint())
    assert len(prints) == 2


def test_files_that_are_no_torchscript(tmp_path):
    (tmp_path / "text.pt").write_text("not a module")
    (tmp_path / "empty.pt").touch()
    torch.save(Two().state_dict(), tmp_path / "weights.pt")
    for name in ("text.pt", "empty.pt", "weights.pt"):
        with pytest.raises(InputError, match=f"{name} is not a TorchScript file"):
            load_extractor(str(tmp_path / name))
    with pytest.raises(InputError, match="must be a TorchScript file or the folder of a transformers model"):
        load_extractor(str(tmp_path / "missing.pt"))


def vit() -> ViTModel:
    torch.manual_seed(0)
    return ViTModel(
        ViTConfig(
            hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
        )
    )


def convnext() -> ConvNextModel:
    torch.manual_seed(0)
    return ConvNextModel(ConvNextConfig(hidden_sizes=[4, 4, 8, 8], depths=[1, 1, 1, 1], image_size=32))


@pytest.mark.parametrize(("build", "num_layers", "last"), [(vit, 3, (2, 8, 17)), (convnext, 5, (2, 8, 1, 1))])
def test_the_folder_of_a_transformers_model(build, num_layers, last, tmp_path):
    build().save_pretrained(tmp_path)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": std}))
    extractor = load_extractor(str(tmp_path)).eval()
    layers = extractor(pictures(size=32))
    assert (len(layers), layers[-1].shape) == (num_layers, last)
    colours = (pictures(size=32) / 2 + 0.5).sub(torch.tensor(mean).view(3, 1, 1)).div(torch.tensor(std).view(3, 1, 1))
    wanted = build().eval()(pixel_values=colours, output_hidden_states=True).hidden_states
    for layer, hidden in zip(layers, wanted, strict=True):
        torch.testing.assert_close(layer, hidden.mT if hidden.dim() == 3 else hidden, rtol=1e-4, atol=1e-4)
    loss = PerceptualLoss(extractor)
    for num_channels, image_size in ((3, 32), (3, 48), (1, 32)):  # other sizes, and grey on all channels
        loss.check(num_channels, image_size)
    assert float(loss(pictures(size=32, seed=1), pictures(size=32))) > 0


def test_feature_maps_of_a_backbone():
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1])
    config.out_features = ["stage1", "stage2"]
    layers = TransformersFeatures(ResNetBackbone(config).eval(), [0.5], [0.5])(pictures(size=32))
    assert [layer.shape for layer in layers] == [(2, 4, 8, 8), (2, 8, 4, 4)]


def test_folders_that_are_no_model(tmp_path):
    with pytest.raises(InputError, match=r"lacks config\.json"):
        load_extractor(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_extractor(str(tmp_path))
