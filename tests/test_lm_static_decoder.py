import pytest
import torch
from test_lm_fused_decoder import EVERYTHING, MODELS, PROMPTS, VOCAB, difference, make

from pictogram.lm.decoder import _pad_left, start
from pictogram.lm.fused_prior import FusedPrior
from pictogram.lm.static_decoder import StaticDecoding


def static(name: str, prompts: list[list[int]], num_new: int, graphed: bool = False) -> StaticDecoding:
    model = make(name, torch.float64)
    if graphed:
        model.to(device="cuda")  # pyright: ignore
    prior = FusedPrior.of(model)
    assert prior is not None
    return StaticDecoding(prior, *_pad_left(prompts, model.device), num_new, graphed=graphed)


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_constant_shapes_compute_what_growing_ones_do(name: str, prompts: list[list[int]]):
    found, expected = static(name, prompts, 12), start(make(name, torch.float64), prompts, 12)
    assert difference(found, expected) < 1e-9
    generator = torch.Generator().manual_seed(1)
    for new in (1, 1, 3, 1, 1):
        ids = torch.randint(0, VOCAB, (len(prompts), new), generator=generator)
        for decoding in (found, expected):
            decoding.append(ids)
        assert difference(found, expected) < 1e-9


@torch.inference_mode()
def test_a_prompt_of_one_token():
    found, expected = static("qwen3", [[3], [4]], 2), start(make("qwen3", torch.float64), [[3], [4]], 2)
    for decoding in (found, expected):
        decoding.append(torch.tensor([[5], [6]]))
    assert difference(found, expected) < 1e-9


@torch.inference_mode()
def test_rows_may_be_chosen_on_the_way():
    prompts = PROMPTS["several lengths"]
    found, expected = static("qwen3 grouped", prompts, 9), start(make("qwen3 grouped", torch.float64), prompts, 9)
    for decoding in (found, expected):
        decoding.append(torch.full((5, 1), 7))
        decoding.select(torch.tensor([4, 1, 1]))
        decoding.append(torch.tensor([[1], [2], [3]]))
    assert difference(found, expected) < 1e-9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.inference_mode()
def test_the_recorded_graph_computes_the_same():
    prompts = PROMPTS["several lengths"]
    found, expected = static("qwen3", prompts, 9, graphed=True), start(make("qwen3", torch.float64), prompts, 9)
    for token in (7, 8, 9):
        ids = torch.full((5, 1), token)
        found.append(ids.cuda())
        expected.append(ids)
        assert float((found.logits(EVERYTHING).cpu() - expected.logits(EVERYTHING)).abs().max()) < 1e-9
    for decoding, device in ((found, "cuda"), (expected, "cpu")):
        decoding.select(torch.tensor([2, 0], device=device))
        decoding.append(torch.tensor([[5], [6]], device=device))
    assert float((found.logits(EVERYTHING).cpu() - expected.logits(EVERYTHING)).abs().max()) < 1e-9
