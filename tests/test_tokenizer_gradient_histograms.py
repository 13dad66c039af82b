"""Which edges a picture has."""

import torch

from pictogram.tokenizer.gradient_histograms import gradient_histograms


def stripes(height: int = 32, width: int = 32, across: bool = False) -> torch.Tensor:
    line = torch.arange(width if across else height) // 4 % 2 * 2.0 - 1
    picture = line[None] if across else line[:, None]
    return picture.expand(height, width)[None, None].clone()


def test_one_vector_a_picture_of_one_length_for_all_sizes():
    lengths = {tuple(gradient_histograms(torch.rand(2, 3, side, side)).shape) for side in (16, 32, 64)}
    assert len(lengths) == 1
    assert gradient_histograms(torch.rand(2, 1, 4, 6)).isfinite().all()


def test_nothing_but_edges_counts():
    picture = stripes()
    found = gradient_histograms(picture)
    assert torch.allclose(gradient_histograms(picture * 0.5 + 0.3), found * 0.5**0.5, atol=1e-5)
    assert torch.allclose(gradient_histograms(-picture), found, atol=1e-6)  # an edge and its reverse
    assert not gradient_histograms(torch.full((1, 1, 32, 32), 0.7)).any()


def test_directions_are_told_apart():
    upright, lying = gradient_histograms(stripes(across=True)), gradient_histograms(stripes())
    assert torch.nn.functional.cosine_similarity(upright, lying) < 0.1
    assert torch.allclose(upright.norm(), lying.norm())


def test_the_strongest_channel_counts():
    grey = stripes()
    colour = torch.cat([0.3 * grey, grey, torch.zeros_like(grey)], 1)
    assert torch.equal(gradient_histograms(colour), gradient_histograms(grey))


def test_a_small_shift_changes_less_than_it_changes_pixels():
    pictures = torch.nn.functional.avg_pool2d(
        torch.rand(8, 1, 40, 40, generator=torch.Generator().manual_seed(0)), 5, 1
    )
    first, second = pictures[..., :32, :32], pictures[..., 1:33, 1:33]

    def change(a: torch.Tensor, b: torch.Tensor) -> float:
        a, b = a.flatten(1) - a.flatten(1).mean(0), b.flatten(1) - b.flatten(1).mean(0)
        return float((a - b).norm() / a.norm())

    assert change(gradient_histograms(first), gradient_histograms(second)) < change(first, second)
