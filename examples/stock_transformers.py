"""Use a bundle's prior without pictogram: stock transformers, and the ids that `vocabulary.json` says are legal.

Works for bundles in `level` order. It prints the codes of one picture; only drawing them needs pictogram.

python examples/stock_transformers.py pictogram-demo/bundle "red apple"
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def legal_ids(vocabulary: dict, size: str, prompt_length: int) -> Callable[[int, torch.Tensor], list[int]]:
    """A `prefix_allowed_tokens_fn` for the codes of one picture after a prompt that ends with `<image HxW>`."""
    image_segments = [segment for segment in vocabulary["segments"] if segment["kind"] == "image"]
    ids_of_level: dict[int, list[int]] = {}
    for segment in image_segments:
        ids = range(segment["start"], segment["start"] + segment["count"])
        ids_of_level.setdefault(segment["level"], []).extend(ids)
    grids = vocabulary["sizes"][size]
    level_at = [level for level, (rows, columns) in enumerate(grids) for _ in range(rows * columns)]
    return lambda _, input_ids: ids_of_level[level_at[len(input_ids) - prompt_length]]


def main(bundle: str, caption: str) -> None:
    """Greedily writes the codes of one picture."""
    model = AutoModelForCausalLM.from_pretrained(bundle).eval()
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    vocabulary = json.loads((Path(bundle) / "vocabulary.json").read_text())
    size, grids = next(iter(vocabulary["sizes"].items()))

    # The words of a caption alone go through the tokenizer; what stands around them is in the vocabulary.
    controls = {token: id_ for segment in vocabulary["segments"] for token, id_ in segment.get("ids", {}).items()}
    words = tokenizer(caption, add_special_tokens=False, split_special_tokens=True).input_ids
    prompt = torch.tensor([[controls["<bos>"], *words, controls[f"<image {size}>"]]])
    ids = model.generate(  # pyright: ignore[reportAttributeAccessIssue] - transformers' own types
        prompt,
        do_sample=False,
        max_new_tokens=sum(rows * columns for rows, columns in grids),
        prefix_allowed_tokens_fn=legal_ids(vocabulary, size, prompt.shape[1]),
    )
    print(" ".join(tokenizer.convert_ids_to_tokens(ids[0, prompt.shape[1] :].tolist())))


if __name__ == "__main__":
    main(*sys.argv[1:])
