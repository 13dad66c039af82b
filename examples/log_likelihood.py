"""Which of some captions fits a picture best, by log-likelihoods of stock transformers, as evaluation harnesses ask.

A harness wants log p(continuation | context), and whether the continuation is what greedy decoding writes. Here the
context is a picture, the continuation a caption; nothing but AutoModelForCausalLM, AutoTokenizer and JSON is used.

python examples/log_likelihood.py pictogram-demo/bundle pictogram-demo/codes 3
"""

import json
import sys
from pathlib import Path

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel


@torch.no_grad()
def log_likelihood(model: PreTrainedModel, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """What p(continuation | context) is, as a logarithm in nats, and whether each token is the likeliest."""
    logits = model(torch.tensor([context + continuation])).logits[0, len(context) - 1 : -1]
    chosen = torch.tensor(continuation)
    total = logits.log_softmax(-1).gather(1, chosen[:, None]).sum()
    return float(total), bool((logits.argmax(-1) == chosen).all())


def picture_ids(vocabulary: dict, row: dict) -> list[int]:
    """The ids of a row's codes in order "level": in each level's segment, its start plus the code."""
    if vocabulary["order"] != "level":
        raise SystemExit("this example writes codes in order level")
    starts = {segment["level"]: segment["start"] for segment in vocabulary["segments"] if segment["kind"] == "image"}
    return [starts[level] + code for level in sorted(starts) for code in row[f"codes_{level}"]]


def main(bundle: str, codes: str, index: str) -> None:
    """Scores the captions of four pictures for one of them."""
    model = AutoModelForCausalLM.from_pretrained(bundle).eval()
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    vocabulary = json.loads((Path(bundle) / "vocabulary.json").read_text())
    controls = {token: id_ for segment in vocabulary["segments"] for token, id_ in segment.get("ids", {}).items()}
    rows = load_dataset("parquet", data_files=f"{codes}/data/train-*.parquet", split="train")
    start = controls[f"<image {next(iter(vocabulary['sizes']))}>"]
    context = [controls["<bos>"], start, *picture_ids(vocabulary, rows[int(index)]), controls["</image>"]]
    for caption in [rows[(int(index) + step) % len(rows)]["caption"] for step in range(4)]:
        words = tokenizer(caption, add_special_tokens=False, split_special_tokens=True).input_ids
        nats, is_greedy = log_likelihood(model, context, [*words, controls["<eos>"]])
        print(f"{nats:10.4f} {'greedy' if is_greedy else '      '} {caption}")


if __name__ == "__main__":
    main(*sys.argv[1:])
