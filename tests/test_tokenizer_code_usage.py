from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pictogram.tokenizer.code_usage import find_revival, sum_over_processes
from pictogram.tokenizer.ema_codebook import EMACodebook
from pictogram.tokenizer.l2_codebook import L2Codebook
from pictogram.tokenizer.lfq import entropy_term
from pictogram.tokenizer.quantizer import Quantizer, channels_last


def find(counts: list[float], threshold: float = 0.1, seed: int = 0):
    return find_revival(torch.tensor(counts), 3, threshold=threshold, seed=seed)


# Revival


def test_the_dead_go_beside_the_busiest():
    revival = find([0.0, 30.0, 50.0, 0.1, 40.0, 5.0])
    assert revival is not None
    assert revival.dead.tolist() == [0, 3]
    assert revival.busy.tolist() == [2, 4]
    assert revival.noise.shape == (2, 3)


@pytest.mark.parametrize("counts", [[1.0, 1.0, 1.0, 1.0], [1.0], [0.0], [0.0, 0.0], [10.0, 1.1]])
def test_nothing_to_revive(counts):
    assert find(counts) is None


def test_never_more_than_the_live_half():
    revival = find([0.0, 0.0, 0.0, 0.0, 9.0, 8.0])
    assert revival is not None
    assert revival.dead.tolist() == [0, 1]
    assert revival.busy.tolist() == [4, 5]
    assert find([9.0, 0.0, 0.0]) is not None


def test_the_threshold_is_a_fraction_of_the_mean():
    assert find([4.0, 4.0, 4.0, 0.7], threshold=0.2) is None  # the mean is 3.175
    assert find([4.0, 4.0, 4.0, 0.5], threshold=0.2) is not None
    assert find([4.0, 4.0, 4.0, 0.0], threshold=0.0) is None


def test_equal_counts_are_taken_in_their_order():
    revival = find([5.0, 0.0, 5.0, 5.0, 0.0, 5.0])
    assert revival is not None
    assert revival.busy.tolist() == [0, 2]


def test_noise_hangs_on_the_seed_alone():
    counts = [0.0, 0.0, 5.0, 5.0]
    torch.manual_seed(1)
    first, state = find(counts), torch.get_rng_state()
    torch.manual_seed(2)
    second, third = find(counts), find(counts, seed=1)
    assert first is not None
    assert second is not None
    assert third is not None
    assert torch.equal(first.noise, second.noise)
    assert not torch.equal(first.noise, third.noise)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


# Processes


def test_one_process_has_nothing_to_add():
    value = torch.ones(3)
    sum_over_processes(value)
    assert value.tolist() == [1, 1, 1]


CODEBOOKS = {"ema": EMACodebook, "l2": L2Codebook}


def batch(step: int) -> torch.Tensor:
    """(8, 4, 3, 3) latents; two processes take four pictures each."""
    return torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(step)).abs()


def train_codebook(name: str, rows: slice) -> Quantizer:
    """30 updates by a share of each batch, with codes that must be revived."""
    torch.manual_seed(0)
    codebook = CODEBOOKS[name](16, 4, decay=0.8, revival_threshold=0.2)
    codebook.start(batch(100), seed=0)
    with torch.no_grad():
        codebook.embedding.weight[12:] = torch.tensor([-50.0, 0, 0, 0])  # nothing is ever assigned to these
    for step in range(30):
        latents = batch(step)[rows]
        codebook.update(latents, codebook.quantize(latents).indices)
    return codebook


def entropy_and_gradient(rows: slice) -> dict[str, torch.Tensor]:
    points = channels_last(batch(0)[rows]).requires_grad_()
    weight = torch.eye(4).requires_grad_()  # what all processes share, and average the gradient of
    term = entropy_term(points @ weight - 0.7)
    term.backward()
    assert weight.grad is not None
    return {"term": term.detach(), "gradient": weight.grad}


def everything(rows: slice) -> dict[str, dict[str, torch.Tensor]]:
    return {name: train_codebook(name, rows).state_dict() for name in CODEBOOKS} | {"lfq": entropy_and_gradient(rows)}


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(everything(slice(4 * rank, 4 * rank + 4)), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> list[dict[str, dict[str, torch.Tensor]]]:
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(one_of_two, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CODEBOOKS)
def test_two_processes_keep_the_same_codebook_as_one(two_processes, name):
    first, second = (process[name] for process in two_processes)
    whole = train_codebook(name, slice(None)).state_dict()
    assert first.keys() == whole.keys()
    for tensor, expected in whole.items():
        assert torch.equal(first[tensor], second[tensor])
        torch.testing.assert_close(first[tensor], expected, rtol=1e-6, atol=1e-6)
    assert (whole["embedding.weight"][12:, 0] > -1).all()  # the unused ones were revived


def test_two_processes_average_to_the_entropy_term_of_the_whole_batch(two_processes):
    shares = [process["lfq"] for process in two_processes]
    whole = entropy_and_gradient(slice(None))
    for name, expected in whole.items():
        found = (shares[0][name] + shares[1][name]) / 2
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(shares[0][name], expected, rtol=1e-3)  # a share by itself is another number
