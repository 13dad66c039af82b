import pytest
import torch
from tiny_adapters import SETTINGS, adapted, pixels
from torch.nn import functional as F

from pictogram.hub.errors import InputError
from pictogram.tokenizer.layout_llamagen import LlamaGenLayout


class Reference:
    """The same network once more, straight from its state dict."""

    def __init__(self, weights: dict[str, torch.Tensor]):
        self.weights = weights

    def conv(self, name, hidden, **options):
        weight = self.weights[f"{name}.weight"]
        options = options or {"padding": weight.shape[-1] // 2}
        return F.conv2d(hidden, weight, self.weights[f"{name}.bias"], **options)

    def norm(self, name, hidden):
        return F.group_norm(hidden, 32, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-6)

    def swish(self, name, hidden):
        hidden = self.norm(name, hidden)
        return hidden * hidden.sigmoid()

    def residual(self, name, hidden):
        inner = self.conv(f"{name}.conv1", self.swish(f"{name}.norm1", hidden))
        inner = self.conv(f"{name}.conv2", self.swish(f"{name}.norm2", inner))
        has_shortcut = f"{name}.nin_shortcut.weight" in self.weights
        return inner + (self.conv(f"{name}.nin_shortcut", hidden) if has_shortcut else hidden)

    def attention(self, name, hidden):
        normed = self.norm(f"{name}.norm", hidden)
        query, key, value = (self.conv(f"{name}.{part}", normed).flatten(2) for part in "qkv")  # (B, C, h w)
        scores = torch.einsum("bci,bcj->bij", query, key) / hidden.shape[1] ** 0.5
        seen = torch.einsum("bij,bcj->bci", scores.softmax(-1), value)
        return hidden + self.conv(f"{name}.proj_out", seen.view_as(hidden))

    def middle(self, part, hidden):
        hidden = self.attention(f"{part}.mid.1", self.residual(f"{part}.mid.0", hidden))
        return self.residual(f"{part}.mid.2", hidden)

    def grid(self, part, index, count, hidden):
        for block in range(count):
            hidden = self.residual(f"{part}.conv_blocks.{index}.res.{block}", hidden)
            if f"{part}.conv_blocks.{index}.attn.{block}.q.weight" in self.weights:
                hidden = self.attention(f"{part}.conv_blocks.{index}.attn.{block}", hidden)
        return hidden

    def codebook(self):
        weight = self.weights["quantize.embedding.weight"]
        return weight / weight.norm(dim=1, keepdim=True)

    def encode(self, hidden):
        hidden = self.conv("encoder.conv_in", hidden)
        for index in range(3):
            hidden = self.grid("encoder", index, 1, hidden)
            if index < 2:
                name = f"encoder.conv_blocks.{index}.downsample.conv"
                hidden = self.conv(name, F.pad(hidden, (0, 1, 0, 1)), stride=2)
        hidden = self.swish("encoder.norm_out", self.middle("encoder", hidden))
        latents = self.conv("quant_conv", self.conv("encoder.conv_out", hidden))
        points = (latents / latents.norm(dim=1, keepdim=True)).permute(0, 2, 3, 1)
        return (points @ self.codebook().T).argmax(-1)  # of vectors of length one the nearest has the largest product

    def decode(self, codes):
        hidden = self.conv("post_quant_conv", self.codebook()[codes].permute(0, 3, 1, 2))
        hidden = self.middle("decoder", self.conv("decoder.conv_in", hidden))
        for index in range(3):
            hidden = self.grid("decoder", index, 2, hidden)
            if index < 2:
                doubled = hidden.repeat_interleave(2, 2).repeat_interleave(2, 3)
                hidden = self.conv(f"decoder.conv_blocks.{index}.upsample.conv", doubled)
        return self.conv("decoder.conv_out", self.swish("decoder.norm_out", hidden))


@pytest.fixture(scope="module")
def network():
    return adapted("llamagen").network


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 24)])
def test_codes_and_pictures_equal_the_reference(height, width, network):
    reference, pixel_values = Reference(network.state_dict()), pixels(2, height, width)
    (codes,) = network.encode(pixel_values)
    assert codes.shape == (2, height // 4, width // 4)
    assert len(codes.unique()) > 4
    assert torch.equal(codes, reference.encode(pixel_values))
    torch.testing.assert_close(network.decode([codes], 1), reference.decode(codes), rtol=1e-4, atol=1e-4)


def test_lengths_of_the_vectors_do_not_matter(network):
    weight, pixel_values = network.quantize.embedding.weight, pixels()
    before, (codes,) = weight.clone(), network.encode(pixel_values)
    assert torch.allclose(network.vectors(0).norm(dim=1), torch.ones(16))
    try:
        weight.mul_(torch.linspace(0.5, 3, 16)[:, None])
        assert torch.equal(network.encode(pixel_values)[0], codes)
    finally:
        weight.copy_(before)


def test_without_scaling_they_do():
    model = LlamaGenLayout(SETTINGS["llamagen"] | {"codebook_l2_norm": False})
    assert torch.equal(model.vectors(0), model.quantize.embedding.weight)


def test_the_published_sizes():
    """343 tensors of the 16x model, and its grid."""
    settings = LlamaGenLayout.complete({})
    with torch.device("meta"):
        state = LlamaGenLayout(settings).state_dict()
    assert len(state) == 343
    assert LlamaGenLayout.infer(state).items() <= settings.items()
    assert LlamaGenLayout.shape(settings).strides == [16]
    names = (
        "encoder.conv_blocks.4.attn.1.proj_out.weight",
        "encoder.conv_blocks.3.downsample.conv.weight",
        "decoder.conv_blocks.0.attn.2.q.bias",
        "decoder.conv_blocks.3.upsample.conv.weight",
        "decoder.mid.1.norm.weight",
        "post_quant_conv.bias",
    )
    assert set(names) <= state.keys()
    assert "decoder.conv_blocks.4.upsample.conv.weight" not in state


def test_shapes_tell_all_settings_but_one():
    model = LlamaGenLayout(SETTINGS["llamagen"])
    inferred = model.infer(model.state_dict())
    assert LlamaGenLayout.complete(inferred) == LlamaGenLayout.complete(SETTINGS["llamagen"])
    assert "codebook_l2_norm" not in inferred


def test_weights_of_another_layout():
    with pytest.raises(InputError, match=r"not of layout llamagen: encoder\.conv_in\.weight is missing"):
        LlamaGenLayout.infer({"quantize.embedding.weight": torch.zeros(4, 2)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder_ch_mult": [1, 2]}, "must be of one length"),
        ({"encoder_ch_mult": [], "decoder_ch_mult": []}, "encoder_ch_mult must be positive"),
        ({"ch": 48}, "ch must be a multiple of 32, got 48"),
    ],
)
def test_settings_that_do_not_fit_together(settings, message):
    with pytest.raises(InputError, match=message):
        LlamaGenLayout.complete(settings)
