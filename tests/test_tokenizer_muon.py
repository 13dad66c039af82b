import copy

import pytest
import torch
from torch import nn

from pictogram.tokenizer import muon
from pictogram.tokenizer.muon import Muon, orthogonal, orthogonalisation_dtype

SHAPES = [(16, 16), (24, 8), (8, 40)]
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def matrices() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def train(optimizer: torch.optim.Optimizer, steps: int, seed: int = 1) -> list[torch.Tensor]:
    """The parameters after some steps by random gradients."""
    generator = torch.Generator().manual_seed(seed)
    parameters = optimizer.param_groups[0]["params"]
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


def in_precision(monkeypatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(muon, "orthogonalisation_dtype", lambda device: dtype)


def torchs() -> torch.optim.Muon:
    return torch.optim.Muon(matrices(), lr=0.03, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")


def test_in_bfloat16_it_is_torchs_to_the_bit(monkeypatch):
    in_precision(monkeypatch, torch.bfloat16)
    ours = train(Muon(matrices(), lr=0.03, weight_decay=0.2), 4)
    assert all(map(torch.equal, ours, train(torchs(), 4)))


def test_in_float32_it_is_torchs_but_for_rounding(monkeypatch):
    in_precision(monkeypatch, torch.float32)
    ours = train(Muon(matrices(), lr=0.03, weight_decay=0.2), 4)
    for mine, other in zip(ours, train(torchs(), 4), strict=True):
        assert not torch.equal(mine, other)
        torch.testing.assert_close(mine, other, rtol=0, atol=2e-3)  # a step moves a weight by about .006


def test_a_checkpoint_of_torchs_goes_on(monkeypatch):
    in_precision(monkeypatch, torch.bfloat16)
    first, ours = torchs(), Muon(matrices(), lr=1.0)
    halfway = train(first, 2)
    with torch.no_grad():
        for parameter, value in zip(ours.param_groups[0]["params"], halfway, strict=True):
            parameter.copy_(value)
    ours.load_state_dict(copy.deepcopy(first.state_dict()))  # tensors are shared otherwise
    assert all(map(torch.equal, train(ours, 2, seed=2), train(first, 2, seed=2)))


def test_parameters_without_gradients_stay():
    parameters = matrices()
    optimizer = Muon(parameters, lr=0.1)
    before = [parameter.detach().clone() for parameter in parameters]
    parameters[0].grad = torch.ones(SHAPES[0])
    assert optimizer.step(lambda: 7) == 7
    changed = [not torch.equal(new, old) for new, old in zip(parameters, before, strict=True)]
    assert changed == [True, False, False]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_come_near_one(shape: tuple[int, int], dtype: torch.dtype):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    found = orthogonal(matrix.to(dtype), COEFFICIENTS, num_steps=5, eps=1e-7)
    assert found.shape == shape and found.dtype == dtype
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    singular = (left.T @ found.float() @ right.T).diagonal()  # the same directions
    assert singular.min() > 0.6 and singular.max() < 1.3


def test_of_nothing_comes_nothing():
    assert not orthogonal(torch.zeros(3, 4), COEFFICIENTS, num_steps=5, eps=1e-7).any()


@pytest.mark.parametrize(("has_instructions", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_processor_without_bfloat16_orthogonalises_in_float32(monkeypatch, has_instructions, expected):
    monkeypatch.setattr(muon, "cpu_computes_bfloat16", lambda: has_instructions)
    assert orthogonalisation_dtype(torch.device("cpu")) == expected
    assert orthogonalisation_dtype(torch.device("cuda")) == torch.bfloat16
