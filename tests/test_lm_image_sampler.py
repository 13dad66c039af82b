from typing import Any

import pytest
import torch
from tiny_chain import prior, shared_bundle, text_tokenizer
from transformers import LogitsProcessorList

from pictogram.hub.errors import InputError
from pictogram.lm.decoder import start
from pictogram.lm.documents import text_to_image_prompt
from pictogram.lm.image_sampler import DRAWN, DrawnImages, ImageDrawing, ImageSampling
from pictogram.lm.order import ORDERS
from pictogram.lm.processor import DrawLogitsProcessor, GrammarLogitsProcessor
from pictogram.lm.sampler import SamplingConfig, sample, uniforms

NUM_CODES = 5
WORDS = ["red apple", "", "grinning face", "日本の旗", "red apple"]


def prompts(order: str, words: list[str]) -> list[list[int]]:
    vocabulary = shared_bundle(order).vocabulary
    return [text_to_image_prompt(vocabulary, text_tokenizer().encode(text), "2x2") for text in words]


def drawing(
    order: str = "level",
    words: list[str] = WORDS,
    sampling: ImageSampling | None = None,
    seeds: range | None = None,
    **options: Any,
) -> ImageDrawing:
    vocabulary = shared_bundle(order).vocabulary
    return ImageDrawing(
        prior(vocabulary).double(),
        vocabulary,
        "2x2",
        prompts(order, words),
        uniforms(seeds or range(len(words)), NUM_CODES),
        sampling or ImageSampling(),
        unconditional=prompts(order, [""])[0],
        **options,
    )


def generated(
    order: str, words: list[str], sampling: SamplingConfig, draws: torch.Tensor, model: Any
) -> list[list[int]]:
    """What `generate()` of transformers writes under our two processors."""
    vocabulary = shared_bundle(order).vocabulary
    rows = prompts(order, words)
    longest = max(map(len, rows))
    input_ids = torch.tensor([[vocabulary.pad_id] * (longest - len(row)) + row for row in rows])
    processors = [GrammarLogitsProcessor(vocabulary), DrawLogitsProcessor(draws, sampling, longest)]
    output = model.generate(
        input_ids,
        attention_mask=(input_ids != vocabulary.pad_id).long(),
        do_sample=False,
        max_new_tokens=NUM_CODES,
        logits_processor=LogitsProcessorList(processors),
    )
    return output[:, longest:].tolist()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("options", [{}, dict(temperature=0.7, top_k=3), dict(top_p=0.8), dict(temperature=0)], ids=str)
def test_the_same_numbers_draw_the_tokens_of_generate(order: str, options: dict[str, Any]):
    words = WORDS * 40
    drawn = drawing(order, words, ImageSampling(**options)).draw()
    model = prior(shared_bundle(order).vocabulary).double()
    draws = uniforms(range(len(words)), NUM_CODES)
    assert drawn.token_ids.tolist() == generated(order, words, SamplingConfig(**options), draws, model)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_it_draws_what_the_general_sampler_draws(scale: float):
    bundle = shared_bundle()
    model = prior(bundle.vocabulary).double()
    base = prompts("level", [""]) * len(WORDS)
    reference = sample(
        model,
        bundle.grammar,
        prompts("level", WORDS),
        uniforms(range(len(WORDS)), NUM_CODES),
        SamplingConfig(guidance_scale=scale),
        stop=lambda _: False,
        unconditional=base,
    )
    drawn = drawing(sampling=ImageSampling(guidance_scale=scale)).draw()
    assert drawn.token_ids.tolist() == reference.token_ids
    torch.testing.assert_close(drawn.bits.sum(1), reference.bits)


@torch.inference_mode()
def test_guidance_is_the_formula_of_two_passes():
    order, scale = "level", 1.7
    model = prior(shared_bundle(order).vocabulary).double()
    run = drawing(order, sampling=ImageSampling(guidance_scale=scale))
    run.draw(3)
    run._read(3)
    doubled = run._logits(run.levels[3])[:, -1]
    rows = [prompt + ids for prompt, ids in zip(prompts(order, WORDS), run.token_ids[:, :3].tolist(), strict=True)]
    alone = start(model, rows, 1).logits(run._ids[1])[:, -1]
    base = [prompts(order, [""])[0] + ids for ids in run.token_ids[:, :3].tolist()]
    without = start(model, base, 1).logits(run._ids[1])[:, -1]
    expected = without + scale * (alone - without)
    found = doubled[len(WORDS) :] + scale * (doubled[: len(WORDS)] - doubled[len(WORDS) :])
    assert float((expected - found).abs().max()) < 1e-5


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_drawing_in_parts_draws_the_same(order: str, scale: float):
    whole = drawing(order, sampling=ImageSampling(guidance_scale=scale)).draw()
    parts = drawing(order, sampling=ImageSampling(guidance_scale=scale))
    for count, so_far in ((1, 1), (2, 3), (0, 3), (9, 5)):
        got = parts.draw(count)
        assert got.token_ids.shape == (len(WORDS), so_far)
    assert torch.equal(got.token_ids, whole.token_ids)
    assert torch.equal(got.bits, whole.bits)


def test_each_level_has_settings_of_its_own():
    greedy_first = drawing(sampling=ImageSampling(temperature=(0, 1.0))).draw().token_ids
    plain, greedy = (drawing(sampling=ImageSampling(temperature=t)).draw().token_ids for t in (1.0, 0))
    assert torch.equal(greedy_first[:, 0], greedy[:, 0])
    assert not torch.equal(greedy_first[:, 0], plain[:, 0])
    assert not torch.equal(greedy_first, greedy)


def rows_read(run: ImageDrawing, monkeypatch) -> list[int]:
    read: list[int] = []
    append = run._append
    monkeypatch.setattr(run, "_append", lambda ids: (read.append(len(ids) * (1 + run._doubled)), append(ids))[1])
    run.draw()
    return read


def test_guidance_costs_nothing_outside_its_interval(monkeypatch):
    count = len(WORDS)
    early = drawing(sampling=ImageSampling(guidance_scale=2.0, guidance_interval=(0, 0.4)))
    assert rows_read(early, monkeypatch) == [2 * count, count, count, count]
    late = drawing(sampling=ImageSampling(guidance_scale=2.0, guidance_interval=(0.6, 1)))
    assert rows_read(late, monkeypatch) == [count, count, 2 * count, 2 * count]
    only_fine = drawing(sampling=ImageSampling(guidance_scale=(1.0, 2.0)))
    assert torch.equal(only_fine.draw().token_ids[:, :1], drawing().draw().token_ids[:, :1])
    assert rows_read(drawing(sampling=ImageSampling(guidance_scale=(2.0, 1.0))), monkeypatch) == [count] * 4


@pytest.mark.parametrize("sampling", [ImageSampling(), ImageSampling(guidance_scale=2.0)], ids=["plain", "guided"])
@pytest.mark.parametrize("known", [[0], [0, 1, 2], [1, 2, 4], [0, 1, 2, 3, 4], [4]], ids=str)
def test_given_codes_stand_and_the_others_follow(known: list[int], sampling: ImageSampling):
    """A picture that is given some of its own codes is drawn again by the same numbers."""
    whole = drawing(sampling=sampling).draw()
    given = torch.full_like(whole.token_ids, DRAWN)
    given[:, known] = whole.token_ids[:, known]
    again = drawing(sampling=sampling, given=given).draw()
    assert torch.equal(again.token_ids, whole.token_ids)
    torch.testing.assert_close(again.bits, whole.bits)


def test_pictures_may_be_given_different_codes():
    whole = drawing().draw()
    given = torch.full_like(whole.token_ids, DRAWN)
    other = whole.token_ids.roll(1, 0)
    for row in range(len(WORDS)):
        given[row, row] = other[row, row]
    drawn = drawing(given=given).draw().token_ids
    assert torch.equal(drawn.diagonal(), other.diagonal())
    first_free = drawn[1:, 0]  # rows that are given later codes begin as they would have
    assert torch.equal(first_free, whole.token_ids[1:, 0])


def test_codes_that_are_all_given_cost_what_the_model_says():
    whole = drawing().draw()
    scored = drawing(given=whole.token_ids.clone(), seeds=range(50, 55)).draw()
    assert torch.equal(scored.token_ids, whole.token_ids)
    torch.testing.assert_close(scored.bits, whole.bits)


def test_grown_codes_are_drawn_too():
    vocabulary = shared_bundle().vocabulary.add_codes(0, 7)
    run = ImageDrawing(
        prior(vocabulary), vocabulary, "2x2", prompts("level", [""]) * 60, uniforms(range(60), 5), ImageSampling()
    )
    drawn: DrawnImages = run.draw()
    codes = vocabulary.ids_to_codes(0, drawn.token_ids[:, 0])
    assert int(codes.max()) >= 6
    given = torch.full_like(drawn.token_ids, DRAWN)
    given[:, 0] = drawn.token_ids[:, 0]
    again = ImageDrawing(
        prior(vocabulary),
        vocabulary,
        "2x2",
        prompts("level", [""]) * 60,
        uniforms(range(60), 5),
        ImageSampling(),
        given=given,
    ).draw()
    torch.testing.assert_close(again.bits, drawn.bits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(temperature=-1.0), "temperature must be 0, or at least"),
        (dict(temperature=(1.0, 1.0, 1.0)), "temperature has 3 values, expected one, or one for each of 2 levels"),
        (dict(top_p=1.5), "top_p must be above 0 and at most 1"),
        (dict(top_k=-1), "top_k must be 0"),
        (dict(guidance_scale=float("nan")), "guidance_scale must be 0 or more"),
        (dict(guidance_interval=(0.5, 0.2)), "guidance_interval must be two shares"),
        (dict(guidance_interval=(-0.1, 1.0)), "guidance_interval must be two shares"),
    ],
)
def test_settings_outside_their_range_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        drawing(sampling=ImageSampling(**options))


@pytest.mark.parametrize("count", [0, 5])
def test_draws_that_do_not_fit_the_prompts_are_refused(count: int):
    vocabulary = shared_bundle().vocabulary
    with pytest.raises(InputError, match=rf"draws have shape \(5, 4\), expected \({count}, 5\)"):
        ImageDrawing(
            prior(vocabulary),
            vocabulary,
            "2x2",
            prompts("level", WORDS)[:count],
            uniforms(range(5), 4),
            ImageSampling(),
        )


def test_guidance_without_an_unconditional_prompt_is_refused():
    vocabulary = shared_bundle().vocabulary
    options = (prompts("level", WORDS), uniforms(range(5), 5), ImageSampling(guidance_scale=2.0))
    with pytest.raises(InputError, match="guidance needs a prompt without the condition"):
        ImageDrawing(prior(vocabulary), vocabulary, "2x2", *options)


def test_what_is_left_out_is_the_model_s_own():
    model = prior(shared_bundle().vocabulary)
    said = ImageSampling(temperature=0.5)
    plain = ImageSampling(temperature=0.5, top_k=0, top_p=1.0)
    model.generation_config.update(temperature=0.25, top_k=3, top_p=0.75)
    assert said.of_model(model.generation_config) == plain, "a model that does not sample says nothing"
    model.generation_config.update(do_sample=True)
    assert said.of_model(model.generation_config) == ImageSampling(temperature=0.5, top_k=3, top_p=0.75)
    assert plain.of_model(model.generation_config) == plain
    levels, scale = [0, 1, 1], ImageSampling(guidance_scale=2.0)
    assert scale.schedule(levels, 2) == ImageSampling(temperature=1.0, top_k=0, top_p=1.0, guidance_scale=2.0).schedule(
        levels, 2
    )
