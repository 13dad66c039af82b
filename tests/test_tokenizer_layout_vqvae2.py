import pytest
import torch
from tiny_adapters import SETTINGS, pixels, spread_weights
from torch.nn import functional as F

from pictogram.hub.errors import InputError
from pictogram.tokenizer import layout_vqvae2
from pictogram.tokenizer.layout_vqvae2 import VQVAE2Layout


def network(**settings) -> VQVAE2Layout:
    torch.manual_seed(0)
    model = VQVAE2Layout(settings).eval().requires_grad_(False)
    spread_weights(model)
    for name, buffer in model.named_buffers():
        buffer.copy_(torch.randn_like(buffer) * (0.5 if name.endswith("embed") else 1))
    return model


class Reference:
    """The same network once more, straight from its state dict."""

    def __init__(self, weights: dict[str, torch.Tensor]):
        self.weights = weights

    def conv(self, name, hidden, stride=1, transposed=False):
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        padding = {1: 0, 3: 1, 4: 1}[weight.shape[-1]]
        return (F.conv_transpose2d if transposed else F.conv2d)(hidden, weight, bias, stride=stride, padding=padding)

    def residual(self, part, first, hidden):
        for index in (first, first + 1):
            inner = self.conv(f"{part}.blocks.{index}.conv.1", hidden.relu())
            hidden = hidden + self.conv(f"{part}.blocks.{index}.conv.3", inner.relu())
        return hidden.relu()

    def codes(self, name, latents):
        points = latents.permute(0, 2, 3, 1)[..., None, :]  # (B, h, w, 1, D)
        return (points - self.weights[f"{name}.embed"].T).square().sum(-1).argmin(-1)

    def vectors(self, name, codes):
        return self.weights[f"{name}.embed"].T[codes].permute(0, 3, 1, 2)

    def encode(self, hidden):
        hidden = self.conv("enc_b.blocks.0", hidden, 2).relu()
        hidden = self.conv("enc_b.blocks.2", hidden, 2).relu()
        fine = self.residual("enc_b", 5, self.conv("enc_b.blocks.4", hidden))
        hidden = self.conv("enc_t.blocks.0", fine, 2).relu()
        coarse = self.residual("enc_t", 3, self.conv("enc_t.blocks.2", hidden))
        top = self.codes("quantize_t", self.conv("quantize_conv_t", coarse))
        said = self.residual("dec_t", 1, self.conv("dec_t.blocks.0", self.vectors("quantize_t", top)))
        said = self.conv("dec_t.blocks.4", said, 2, transposed=True)
        return top, self.codes("quantize_b", self.conv("quantize_conv_b", torch.cat([said, fine], 1)))

    def decode(self, top, bottom):
        up = self.conv("upsample_t", top, 2, transposed=True)
        hidden = self.residual("dec", 1, self.conv("dec.blocks.0", torch.cat([up, bottom], 1)))
        hidden = self.conv("dec.blocks.4", hidden, 2, transposed=True).relu()
        return self.conv("dec.blocks.6", hidden, 2, transposed=True)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def reference(model):
    return Reference(model.state_dict())


def test_tensors_of_the_usual_size(model):
    state = model.state_dict()
    assert len(state) == 64
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_388_867
    assert sum(buffer.numel() for buffer in model.buffers()) == 132_096
    assert state["enc_b.blocks.0.weight"].shape == (64, 3, 4, 4)
    assert state["enc_t.blocks.4.conv.3.weight"].shape == (128, 32, 1, 1)
    assert state["quantize_t.embed"].shape == (64, 512)
    assert state["dec_t.blocks.4.weight"].shape == (128, 64, 4, 4)
    assert state["dec.blocks.6.bias"].shape == (3,)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_codes_equal_the_reference(height, width, model, reference):
    pixel_values = pixels(2, height, width)
    codes = model.encode(pixel_values)
    assert [tuple(level.shape) for level in codes] == [(2, height // 8, width // 8), (2, height // 4, width // 4)]
    assert all(len(level.unique()) > 4 for level in codes)
    for level, expected in zip(codes, reference.encode(pixel_values), strict=True):
        assert torch.equal(level, expected)


def test_a_few_pictures_at_a_time_have_the_codes_of_all_at_once(model, monkeypatch):
    pixel_values = pixels(5, 16, 24)
    kept = pixel_values.clone()
    whole = model.encode(pixel_values)
    for most in (1, 2 * 16 * 24):  # one and two pictures
        monkeypatch.setattr(layout_vqvae2, "_CACHED_PIXELS", most)
        parts = model.encode(pixel_values)
        assert all(torch.equal(part, expected) for part, expected in zip(parts, whole, strict=True))
    assert torch.equal(pixel_values, kept)


def test_pictures_equal_the_reference(model, reference):
    top, bottom = torch.randint(512, (2, 3, 4)), torch.randint(512, (2, 6, 8))
    vectors = reference.vectors("quantize_t", top), reference.vectors("quantize_b", bottom)
    torch.testing.assert_close(model.decode([top, bottom], 2), reference.decode(*vectors), rtol=1e-5, atol=1e-5)
    prefix = reference.decode(vectors[0], torch.zeros_like(vectors[1]))
    torch.testing.assert_close(model.decode([top, bottom], 1), prefix, rtol=1e-5, atol=1e-5)


def test_codes_far_away_that_were_never_used_change_nothing(model):
    """The port's running averages throw unused codes about 1e5 away."""
    pixel_values = pixels(2, 32, 32)
    codes = model.encode(pixel_values)
    kept = model.quantize_b.embed.clone()
    unused = torch.ones(512, dtype=torch.bool)
    unused[codes[1].unique()] = False
    try:
        model.quantize_b.embed[:, unused] = 1e5 * torch.randn_like(kept[:, unused])
        assert torch.equal(model.encode(pixel_values)[1], codes[1])
    finally:
        model.quantize_b.embed.copy_(kept)


def test_the_lowest_of_equal_codes_wins(model):
    kept = model.quantize_t.embed.clone()
    try:
        model.quantize_t.embed[:, 1:] = kept[:, :1]
        assert model.encode(pixels(1, 16, 16))[0].eq(0).all()
    finally:
        model.quantize_t.embed.copy_(kept)


def test_vectors_of_a_level(model):
    assert torch.equal(model.vectors(0), model.quantize_t.embed.T)
    assert torch.equal(model.vectors(1), model.quantize_b.embed.T)


def test_shapes_tell_all_settings():
    for settings in ({}, SETTINGS["vqvae2"], {"in_channel": 1, "channel": 12, "n_res_block": 3}):
        model = VQVAE2Layout(settings)
        assert model.infer(model.state_dict()) == VQVAE2Layout.complete(settings)


def test_weights_of_another_layout():
    with pytest.raises(InputError, match=r"not of layout vqvae2: enc_b\.blocks\.0\.weight is missing"):
        VQVAE2Layout.infer({"encoder.conv_in.weight": torch.zeros(1)})


def test_an_odd_width():
    with pytest.raises(InputError, match="channel must be an even number, got 9"):
        VQVAE2Layout.complete({"channel": 9})
