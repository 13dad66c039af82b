"""Time of our sampler beside `generate()` of transformers on the same bundle, prompts and grammar, in one run.

python benchmarks/sampler.py pictogram-demo/bundle --batch-size 16 --repeats 5

Both draw the codes of one picture per prompt greedily, so both must write the same codes; the ratio is of medians.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from transformers import LogitsProcessorList

from pictogram import Bundle
from pictogram.lm.documents import text_to_image_prompt
from pictogram.lm.processor import GrammarLogitsProcessor
from pictogram.lm.sampler import SamplingConfig, sample, uniforms


def ours(bundle: Bundle, prompts: list[list[int]], num_codes: int) -> list[list[int]]:
    draws = uniforms(range(len(prompts)), num_codes)
    greedy = SamplingConfig(temperature=0)
    return sample(bundle.prior, bundle.grammar, prompts, draws, greedy, stop=lambda _: False).token_ids


def generates(bundle: Bundle, prompts: list[list[int]], num_codes: int) -> list[list[int]]:
    input_ids = torch.tensor(prompts)
    output = bundle.prior.generate(  # pyright: ignore[reportCallIssue]
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        do_sample=False,
        max_new_tokens=num_codes,
        logits_processor=LogitsProcessorList([GrammarLogitsProcessor(bundle.vocabulary)]),
    )
    return output[:, input_ids.shape[1] :].tolist()


def timed(function: Callable[[], list[list[int]]], repeats: int) -> tuple[float, list[list[int]]]:
    """Median seconds, and the last result."""
    seconds, result = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    bundle = Bundle.from_pretrained(arguments.bundle)
    size = next(iter(bundle.vocabulary.sizes))
    num_codes = sum(rows * columns for rows, columns in bundle.vocabulary.grids(size))
    prompt = text_to_image_prompt(bundle.vocabulary, bundle.text_tokenizer.encode("red apple"), size)
    prompts = [prompt] * arguments.batch_size
    for warm_up in (ours, generates):
        warm_up(bundle, prompts, num_codes)
    our_seconds, our_ids = timed(lambda: ours(bundle, prompts, num_codes), arguments.repeats)
    their_seconds, their_ids = timed(lambda: generates(bundle, prompts, num_codes), arguments.repeats)
    print(
        json.dumps(
            {
                "parameters": bundle.prior.num_parameters(),
                "batch_size": arguments.batch_size,
                "sampler_seconds": round(our_seconds, 4),
                "generate_seconds": round(their_seconds, 4),
                "speedup": round(their_seconds / our_seconds, 2),
                "same_codes": our_ids == their_ids,
            }
        )
    )


if __name__ == "__main__":
    main()
