import pytest
import torch

from pictogram.tokenizer.gradients import ESTIMATORS, rotate, straight_through


def grid(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def gradient(estimator: str, latents: torch.Tensor, quantized: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The latents' gradient when that of the estimator's result is `output`."""
    latents = latents.clone().requires_grad_()
    (ESTIMATORS[estimator](latents, quantized) * output).sum().backward()
    assert latents.grad is not None
    return latents.grad


def rotation_matrix(latent: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """(D, D) float64: I - 2 r r^T + 2 q e^T, times ||code|| / ||latent||."""
    latent, code = latent.double(), code.double()
    e, q = latent / latent.norm(), code / code.norm()
    r = (e + q) / (e + q).norm()
    rotation = torch.eye(len(e), dtype=torch.float64) - 2 * torch.outer(r, r) + 2 * torch.outer(q, e)
    return rotation * code.norm() / latent.norm()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-3, 1.0, 1e3])
def test_the_value_is_exactly_that_of_the_code(estimator, scale):
    latents, quantized = scale * grid(3, 5, 4, 2), grid(3, 5, 4, 2, seed=1)
    quantized[0, :, 0, 0] = 0
    assert torch.equal(ESTIMATORS[estimator](latents, quantized), quantized)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_gradient_reaches_the_code(estimator):
    quantized = grid(1, 3, 2, 2, seed=1).requires_grad_()
    ESTIMATORS[estimator](grid(1, 3, 2, 2).requires_grad_(), quantized).sum().backward()
    assert quantized.grad is None


def test_straight_through_passes_the_gradient_on_unchanged():
    latents, quantized, output = (grid(2, 3, 4, 5, seed=seed) for seed in range(3))
    assert torch.equal(gradient("straight_through", latents, quantized, output), output)
    assert straight_through(latents, quantized).shape == latents.shape


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_rotation_is_the_matrix_of_the_paper(dim):
    latents, quantized, output = (grid(4, dim, 3, 2, seed=seed) for seed in range(3))
    found = gradient("rotation", latents, quantized, output)
    for batch in range(4):
        for row in range(3):
            for column in range(2):
                place = (batch, slice(None), row, column)
                matrix = rotation_matrix(latents[place], quantized[place])
                # It is a scaled rotation that carries the latent onto its code.
                torch.testing.assert_close(matrix @ latents[place].double(), quantized[place].double())
                ratio = (quantized[place].norm() / latents[place].norm()).double()
                unit = torch.eye(dim, dtype=torch.float64)
                torch.testing.assert_close(matrix.T @ matrix, ratio**2 * unit, rtol=1e-5, atol=1e-5)
                expected = (matrix.T @ output[place].double()).float()
                torch.testing.assert_close(found[place], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("which", ["latents", "codes"])
@pytest.mark.parametrize("length", [0.0, 1e-8])
def test_without_a_direction_the_gradient_is_the_identity(which, length):
    vectors = {"latents": grid(1, 4, 2, 2), "codes": grid(1, 4, 2, 2, seed=1)}
    vectors[which][0, :, 1, 0] *= length
    output = grid(1, 4, 2, 2, seed=2)
    found = gradient("rotation", vectors["latents"], vectors["codes"], output)
    assert torch.equal(found[0, :, 1, 0], output[0, :, 1, 0])
    assert not torch.equal(found[0, :, 0, 0], output[0, :, 0, 0])
    assert found.isfinite().all()


def test_parallel_vectors_only_scale():
    latents, output = grid(1, 4, 3, 3), grid(1, 4, 3, 3, seed=2)
    torch.testing.assert_close(gradient("rotation", latents, 2.5 * latents, output), 2.5 * output)
    torch.testing.assert_close(gradient("rotation", latents, latents, output), output)


def test_opposite_vectors_are_reflected():
    latents, output = grid(1, 4, 3, 3), grid(1, 4, 3, 3, seed=2)
    e = latents / latents.norm(dim=1, keepdim=True)
    expected = 2.5 * (output - 2 * (e * output).sum(1, keepdim=True) * e)
    torch.testing.assert_close(gradient("rotation", latents, -2.5 * latents, output), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-5, 1e-6, 1e-7])
def test_nearly_opposite_vectors_never_blow_the_gradient_up(distance):
    latents, output = grid(4, 8, 4, 4), grid(4, 8, 4, 4, seed=2)
    codes = -latents + distance * grid(4, 8, 4, 4, seed=3)
    found = gradient("rotation", latents, codes, output)
    # No longer than a rotation leaves it, up to rounding and the ratio of the lengths.
    assert float((found.norm(dim=1) / output.norm(dim=1)).max()) < 1.1


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_latents(estimator, dtype):
    latents, quantized, output = grid(2, 4, 3, 3, dtype=dtype), grid(2, 4, 3, 3, seed=1), grid(2, 4, 3, 3, seed=2)
    with torch.autocast("cpu", dtype):
        value = ESTIMATORS[estimator](latents, quantized)
        found = gradient(estimator, latents, quantized, output)
    assert value.dtype == torch.float32
    assert torch.equal(value, quantized)
    # The float32 computation on the very same latents, rounded once at the end.
    assert torch.equal(found, gradient(estimator, latents.float(), quantized, output).to(dtype))


def test_names():
    assert {"straight_through": straight_through, "rotation": rotate} == ESTIMATORS
