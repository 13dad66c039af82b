import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pictogram.lm import products
from pictogram.lm.products import PackedLinear, convolved_linear, is_amd_with_avx512, quicken_linears


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 5, 8), (16, 7, 12), (20, 1, 5)])
@pytest.mark.parametrize("biased", [False, True])
def test_it_is_a_linear_layer_forward_and_backward(shape: tuple[int, int, int], biased: bool):
    torch.manual_seed(0)
    leaves = [torch.randn(*shape), torch.randn(6, shape[2]), *([torch.randn(6)] if biased else [])]
    results = []
    for function in (F.linear, convolved_linear):
        inputs = [leaf.clone().requires_grad_() for leaf in leaves]
        output = function(*inputs)
        assert output.shape == (*shape[:2], 6)
        results.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


def test_layers_keep_their_names_and_their_results(monkeypatch):
    monkeypatch.setattr(products, "prefers_onednn", lambda: True)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 3, bias=False))
    before, inputs = {k: v.clone() for k, v in model.state_dict().items()}, torch.randn(16, 4, 5)
    expected = model(inputs)
    called: list[int] = []
    convolved = products.convolved_linear
    monkeypatch.setattr(products, "convolved_linear", lambda *args: (called.append(len(args[0])), convolved(*args))[1])
    quicken_linears(model)
    torch.testing.assert_close(model(inputs), expected)
    assert called == [16, 16]
    assert model.state_dict().keys() == before.keys()
    for odd in (inputs[0], inputs.double()):  # other shapes and types go the usual way
        model.to(odd.dtype)
        assert model(odd).dtype == odd.dtype
    assert called == [16, 16]


def test_elsewhere_nothing_changes(monkeypatch):
    monkeypatch.setattr(products, "prefers_onednn", lambda: False)
    model = nn.Linear(2, 2)
    quicken_linears(model)
    assert "forward" not in vars(model)


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", "avx2 avx512f avx512bw", True),
        ("AuthenticAMD", "avx avx2 fma", False),
        ("GenuineIntel", "avx2 avx512f", False),
    ],
)
def test_onednn_is_for_amd_with_avx512(vendor: str, flags: str, expected: bool):
    assert is_amd_with_avx512(f"vendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n") == expected


@pytest.mark.parametrize("rows", [1, 2, 64])
@pytest.mark.parametrize("biased", [False, True])
def test_a_packed_layer_is_that_layer(rows: int, biased: bool, monkeypatch):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, 12), torch.randn(6, 12), torch.randn(6) if biased else None
    for packs in (False, True):
        monkeypatch.setattr(products, "prefers_onednn", lambda packs=packs: packs)
        layer = PackedLinear.of(weight, bias)
        assert layer.weight.is_mkldnn == packs
        torch.testing.assert_close(layer(x), F.linear(x, weight, bias), rtol=1e-5, atol=1e-5)
        assert not PackedLinear.of(weight.double(), None).weight.is_mkldnn
