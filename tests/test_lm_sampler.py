import json
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from tiny_chain import bundle_folder, prior, shared_bundle, text_tokenizer
from tiny_draws import reference_truncation
from transformers import LogitsProcessorList

from pictogram.hub.errors import InputError
from pictogram.lm.documents import parse_document, text_to_image_prompt
from pictogram.lm.grammar import Grammar
from pictogram.lm.order import ORDERS
from pictogram.lm.processor import GrammarLogitsProcessor
from pictogram.lm.rate import measure_rate
from pictogram.lm.sampler import Samples, SamplingConfig, sample, uniforms

NUM_CODES = 5
WORDS = ["red apple", "", "grinning face", "日本の旗"]
GREEDY = SamplingConfig(temperature=0)
OPTIONS = [
    SamplingConfig(),
    SamplingConfig(temperature=0.7, top_k=3),
    SamplingConfig(temperature=1.3, top_p=0.8),
    SamplingConfig(guidance_scale=2.5, top_k=4, top_p=0.9),
    SamplingConfig(guidance_scale=0.0),
]


def never(_: int) -> bool:
    return False


def picture_prompts(order: str, words: list[str]) -> list[list[int]]:
    vocabulary = shared_bundle(order).vocabulary
    return [text_to_image_prompt(vocabulary, text_tokenizer().encode(text), "2x2") for text in words]


def draw_pictures(order: str, words: list[str], sampling: SamplingConfig, seeds: list[int] | None = None) -> Samples:
    """Whole documents: five codes, `</image>`, then whatever the model says, to at most 12 tokens."""
    bundle = shared_bundle(order)
    return sample(
        bundle.prior,
        bundle.grammar,
        picture_prompts(order, words),
        uniforms(seeds or list(range(len(words))), 12),
        sampling,
        stop=never,
        unconditional=picture_prompts(order, [""] * len(words)),
    )


def generate(order: str, prompts: list[list[int]], count: int) -> list[list[int]]:
    """Greedy tokens of transformers, under our logits processor."""
    bundle = shared_bundle(order)
    pad, longest = bundle.vocabulary.pad_id, max(map(len, prompts))
    input_ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
    output = bundle.prior.generate(  # pyright: ignore[reportCallIssue]
        input_ids,
        attention_mask=(input_ids != pad).long(),
        logits_processor=LogitsProcessorList([GrammarLogitsProcessor(bundle.vocabulary)]),
        do_sample=False,
        max_new_tokens=count,
    )
    return output[:, longest:].tolist()


@pytest.mark.parametrize("order", ORDERS)
def test_greedy_tokens_are_those_of_generate(order: str):
    vocabulary = shared_bundle(order).vocabulary
    expected = generate(order, picture_prompts(order, WORDS), 12)
    drawn = draw_pictures(order, WORDS, GREEDY).token_ids
    until_eos = [row[: row.index(vocabulary.eos_id) + 1] if vocabulary.eos_id in row else row for row in expected]
    assert [ids[: len(row)] for ids, row in zip(drawn, until_eos, strict=True)] == until_eos


STRANGER = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer

def children(grids, level, top, left, height, width):
    for row in range(top, top + height):
        for col in range(left, left + width):
            yield level
            if level + 1 < len(grids):
                down, across = (b // a for a, b in zip(grids[level], grids[level + 1]))
                yield from children(grids, level + 1, row * down, col * across, down, across)

def greedy(folder, captions):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = json.load(open(folder + "/vocabulary.json"))
    segments = vocabulary["segments"]
    controls = {token: id for segment in segments for token, id in segment.get("ids", {}).items()}
    text = list(range(segments[0]["count"]))
    size, grids = next(iter(vocabulary["sizes"].items()))
    start, end = controls["<image %s>" % size], controls["</image>"]
    codes = [[s["start"] + i for s in segments if s.get("level") == level for i in range(s["count"])]
             for level in range(len(grids))]
    if vocabulary["order"] == "level":
        levels = [level for level, (rows, cols) in enumerate(grids) for _ in range(rows * cols)]
    else:
        levels = list(children(grids, 0, 0, 0, *grids[0]))

    def allowed(batch, ids):
        ids = ids.tolist()
        if controls["<eos>"] in ids:
            return [controls["<pad>"]]
        opened = max((place for place, id in enumerate(ids) if id == start), default=None)
        if opened is not None and end not in ids[opened:]:
            place = len(ids) - opened - 1
            return codes[levels[place]] if place < len(levels) else [end]
        if ids[-1] == controls["<null>"]:
            return [start]
        return [*text, controls["<eos>"], controls["<null>"], start]

    rows = []
    for caption in captions:
        words = tokenizer(caption, split_special_tokens=True)["input_ids"] if caption else [controls["<null>"]]
        prompt = torch.tensor([[controls["<bos>"], *words, start]])
        output = model.generate(prompt, do_sample=False, max_new_tokens=12, prefix_allowed_tokens_fn=allowed)
        rows.append(output[0, prompt.shape[1]:].tolist())
    return {"rows": rows, "length": len(tokenizer), "vocab_size": model.config.vocab_size,
            "class": type(model).__name__, "module": type(model).__module__}

print(json.dumps([greedy(folder, json.loads(sys.argv[1])) for folder in sys.argv[2:]]))
assert "pictogram" not in sys.modules
"""


def test_a_stranger_without_this_package_gets_the_same_greedy_tokens(tmp_path):
    words = [*WORDS, "a <bos> </image>"]
    folders = [str(bundle_folder(order)) for order in ORDERS]
    command = [sys.executable, "-c", STRANGER, json.dumps(words), *folders]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for order, found in zip(ORDERS, json.loads(result.stdout), strict=True):
        assert (found["class"], found["module"]) == ("Qwen3ForCausalLM", "transformers.models.qwen3.modeling_qwen3")
        assert found["length"] == found["vocab_size"] == shared_bundle(order).vocabulary.vocab_size
        drawn = draw_pictures(order, words, GREEDY).token_ids
        assert [ids[: len(row)] for ids, row in zip(drawn, found["rows"], strict=True)] == found["rows"]


def reference_sample(
    model, grammar: Grammar, prompt: list[int], unconditional: list[int], draws: list[float], sampling: SamplingConfig
) -> list[int]:
    """One row, one full forward pass a token, no cache: the definition."""
    new: list[int] = []
    with torch.no_grad():
        for uniform in draws:
            ids = grammar.legal_ids(grammar.state_after([*prompt, *new]))
            logits = model(torch.tensor([[*prompt, *new]])).logits[0, -1, ids]
            if sampling.guidance_scale != 1:
                base = model(torch.tensor([[*unconditional, *new]])).logits[0, -1, ids]
                logits = base + sampling.guidance_scale * (logits - base)
            assert logits.dtype == torch.float64
            chances = reference_truncation((logits / sampling.temperature).softmax(0).tolist(), sampling)
            running, target = 0.0, uniform * math.fsum(chances)
            sums = [running := running + chance for chance in chances]
            new.append(int(ids[next(column for column, total in enumerate(sums) if total > target)]))
    return new


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sampling", OPTIONS, ids=str)
def test_the_same_numbers_draw_the_tokens_of_the_slow_definition(order: str, sampling: SamplingConfig):
    bundle = shared_bundle(order)
    model = prior(bundle.vocabulary).double()
    prompts, base = picture_prompts(order, WORDS[:3]), picture_prompts(order, [""])[0]
    draws = uniforms([7, 8, 9], 9)
    drawn = sample(model, bundle.grammar, prompts, draws, sampling, stop=never, unconditional=[base] * 3)
    for prompt, row, ids in zip(prompts, draws.tolist(), drawn.token_ids, strict=True):
        assert ids == reference_sample(model, bundle.grammar, prompt, base, row, sampling)


@pytest.mark.parametrize("sampling", OPTIONS, ids=str)
def test_a_row_does_not_depend_on_its_company(sampling: SamplingConfig):
    together = draw_pictures("level", WORDS, sampling)
    for index, words in enumerate(WORDS):
        alone = draw_pictures("level", [words], sampling, seeds=[index])
        assert alone.token_ids[0] == together.token_ids[index]
        torch.testing.assert_close(alone.bits[0], together.bits[index], rtol=1e-5, atol=1e-4)


def test_rows_that_end_leave_the_others_alone():
    bundle = shared_bundle()
    eos = bundle.vocabulary.eos_id
    prompts = [prompt[:-1] for prompt in picture_prompts("level", ["red apple", "sad face", "grinning face"])]
    options: dict[str, Any] = dict(
        model=bundle.prior, grammar=bundle.grammar, sampling=SamplingConfig(), stop=lambda id_: id_ == eos
    )
    draws = uniforms([11, 12, 13], 20)
    together = sample(prompts=prompts, draws=draws, **options)
    lengths = {len(ids) for ids in together.token_ids}
    assert len(lengths) > 1
    for index, prompt in enumerate(prompts):
        alone = sample(prompts=[prompt], draws=draws[index : index + 1], **options)
        assert alone.token_ids[0] == together.token_ids[index]
        torch.testing.assert_close(alone.bits[0], together.bits[index], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_whole_documents_parse_and_their_bits_are_their_rate(order: str):
    bundle = shared_bundle(order)
    bos, eos = bundle.vocabulary.bos_id, bundle.vocabulary.eos_id
    draws = uniforms(range(8), 40)
    drawn = sample(bundle.prior, bundle.grammar, [[bos]] * 8, draws, SamplingConfig(), stop=lambda id_: id_ == eos)
    whole = 0
    for ids, bits in zip(drawn.token_ids, drawn.bits, strict=True):
        if len(ids) == 40:
            bundle.grammar.state_after([bos, *ids])
            continue
        whole += 1
        document = [bos, *ids, eos]
        parse_document(bundle.grammar, document)
        rate = measure_rate(bundle.prior, bundle.grammar, [document])
        assert rate.text_bits + rate.image_bits + rate.control_bits == pytest.approx(float(bits), rel=1e-4, abs=1e-4)
    assert whole > 0


def test_bits_are_of_the_plain_model_whatever_the_options():
    bundle = shared_bundle()
    prompt = picture_prompts("level", ["red apple"])[0]
    drawn = draw_pictures("level", ["red apple"], SamplingConfig(temperature=0.5, top_k=2, guidance_scale=3.0))
    ids, spent, state = drawn.token_ids[0], 0.0, bundle.grammar.state_after(prompt)
    with torch.no_grad():
        logits = bundle.prior(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 :].double()
    for place, id_ in enumerate(ids):
        legal = bundle.grammar.legal_ids(state)
        spent -= float((logits[place, id_] - logits[place, legal].logsumexp(0)) / math.log(2))
        state = bundle.grammar.advance(state, id_)
    assert float(drawn.bits[0]) == pytest.approx(spent, rel=1e-5)


def test_guidance_1_ignores_the_other_prompts():
    bundle = shared_bundle()
    prompts, draws = picture_prompts("level", WORDS), uniforms(range(4), NUM_CODES)
    plain = sample(bundle.prior, bundle.grammar, prompts, draws, SamplingConfig(), stop=never)
    given = sample(bundle.prior, bundle.grammar, prompts, draws, SamplingConfig(), stop=never, unconditional=[[99999]])
    assert plain.token_ids == given.token_ids
    assert torch.equal(plain.bits, given.bits)
    with pytest.raises(InputError, match=r"guidance_scale 2.0 needs prompts without the condition"):
        sample(bundle.prior, bundle.grammar, prompts, draws, SamplingConfig(guidance_scale=2.0), stop=never)


def test_excluded_ids_are_neither_drawn_nor_counted():
    bundle = shared_bundle()
    prompt = [bundle.vocabulary.bos_id]
    legal = bundle.grammar.legal_ids(bundle.grammar.state_after(prompt))
    exclude = [id_ for id_ in legal.tolist() if id_ not in (3, 70)]
    draws = uniforms(range(40), 1)
    drawn = sample(bundle.prior, bundle.grammar, [prompt] * 40, draws, SamplingConfig(), stop=never, exclude=exclude)
    assert {ids[0] for ids in drawn.token_ids} == {3, 70}
    with torch.no_grad():
        logits = bundle.prior(torch.tensor([prompt])).logits[0, -1, [3, 70]].double()
    expected = {3: -float(logits.log_softmax(0)[0]), 70: -float(logits.log_softmax(0)[1])}
    for ids, bits in zip(drawn.token_ids, drawn.bits.tolist(), strict=True):
        assert bits * math.log(2) == pytest.approx(expected[ids[0]], rel=1e-5)


def test_too_many_tokens_for_the_context_are_refused():
    bundle = shared_bundle()
    with pytest.raises(InputError, match="need 66 places, but the model has 64"):
        sample(
            bundle.prior, bundle.grammar, [[bundle.vocabulary.bos_id]], uniforms([0], 65), SamplingConfig(), stop=never
        )
    long = [bundle.vocabulary.bos_id, *[5] * 62]
    with pytest.raises(InputError, match="need 68 places"):
        sample(bundle.prior, bundle.grammar, [long], uniforms([0], 5), SamplingConfig(), stop=never)


def test_illegal_prompts_are_refused_and_none_gives_none():
    bundle = shared_bundle()
    with pytest.raises(InputError, match="where <bos> is expected"):
        sample(bundle.prior, bundle.grammar, [[5]], uniforms([0], 5), SamplingConfig(), stop=never)
    assert sample(bundle.prior, bundle.grammar, [], uniforms([], 5), SamplingConfig(), stop=never).token_ids == []
