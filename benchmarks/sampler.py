"""Time of our sampler beside `generate()` of transformers, and whether both draw the same tokens.

python benchmarks/sampler.py --json sampler.json
python benchmarks/sampler.py --quick

Random weights: what a token costs does not depend on what the model knows. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from interleaved import measure, print_report
from transformers import LogitsProcessorList, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from pictogram.lm.documents import text_to_image_prompt
from pictogram.lm.drawing import SamplingConfig, uniforms
from pictogram.lm.image_sampler import ImageDrawing, ImageSampling
from pictogram.lm.processor import DrawLogitsProcessor, GrammarLogitsProcessor
from pictogram.lm.vocabulary import JointVocabulary

SIZE = "4x4"
HEAD_DIM = 64
GRIDS = [(1, 1), (4, 4), (8, 8), (16, 16)]
CODEBOOKS = (64, 256, 256, 512)
NUM_TEXT = 300
CAPTION = [100, 101, 102, 103]
"""Any text ids: a caption of four pieces."""


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        hidden_size: width of the models.
        num_layers: their depth.
        intermediate_size: width of the gated MLP.
        num_levels: levels of a picture; 3 are 81 codes, 4 are 337.
        batch_sizes: pictures at a time.
        num_equal: pictures that are compared token by token.
        repeats: rounds.
    """

    hidden_size: int = 256
    num_layers: int = 8
    intermediate_size: int = 704
    num_levels: int = 3
    batch_sizes: tuple[int, ...] = (1, 64)
    num_equal: int = 1000
    repeats: int = 5


QUICK = Setting(64, 1, 64, num_levels=2, batch_sizes=(1, 2), num_equal=4, repeats=1)


def new_vocabulary(num_levels: int) -> JointVocabulary:
    return JointVocabulary.from_scratch(NUM_TEXT, CODEBOOKS[:num_levels], [GRIDS[:num_levels]])


def new_model(setting: Setting, vocabulary: JointVocabulary, num_kv_heads: int) -> Qwen3ForCausalLM:
    """Random weights, spread so that draws are neither certain nor uniform.

    What fewer heads of keys and values save goes into a wider MLP: all these models have the same number of operations.
    """
    torch.manual_seed(0)
    num_heads = setting.hidden_size // HEAD_DIM
    saved = 2 * HEAD_DIM * (num_heads - num_kv_heads)  # rows of matrices with hidden_size columns; the MLP has three
    config = Qwen3Config(
        vocab_size=vocabulary.vocab_size,
        hidden_size=setting.hidden_size,
        num_hidden_layers=setting.num_layers,
        intermediate_size=setting.intermediate_size + saved // 3,
        num_attention_heads=num_heads,
        num_key_value_heads=num_kv_heads,
        head_dim=HEAD_DIM,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        pad_token_id=vocabulary.pad_id,
        bos_token_id=vocabulary.bos_id,
        eos_token_id=vocabulary.eos_id,
        initializer_range=0.06,
    )
    return Qwen3ForCausalLM(config).eval()


def ours(
    model: PreTrainedModel, vocabulary: JointVocabulary, batch_size: int, draws: torch.Tensor, scale: float = 1.0
) -> torch.Tensor:
    """(B, N) ids of our sampler."""
    prompt = text_to_image_prompt(vocabulary, CAPTION, SIZE)
    without = text_to_image_prompt(vocabulary, [], SIZE)
    sampling = ImageSampling(guidance_scale=scale)
    drawing = ImageDrawing(
        model, vocabulary, SIZE, [prompt] * batch_size, draws[:batch_size], sampling, unconditional=without
    )
    return drawing.draw().token_ids


def generates(model: PreTrainedModel, vocabulary: JointVocabulary, batch_size: int, count: int, **options: Any) -> Any:
    """(B, N) ids of `generate()`."""
    input_ids = torch.tensor([text_to_image_prompt(vocabulary, CAPTION, SIZE)] * batch_size)
    output = model.generate(  # pyright: ignore[reportCallIssue]
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        min_new_tokens=count,
        max_new_tokens=count,
        **options,
    )
    return output[:, input_ids.shape[1] :]


def reference(model: PreTrainedModel, vocabulary: JointVocabulary, draws: torch.Tensor) -> torch.Tensor:
    """(B, N) ids of `generate()` under the grammar, drawn by the same numbers."""
    length = len(text_to_image_prompt(vocabulary, CAPTION, SIZE))
    processors = [GrammarLogitsProcessor(vocabulary), DrawLogitsProcessor(draws, SamplingConfig(), length)]
    options = dict(do_sample=False, logits_processor=LogitsProcessorList(processors))
    return generates(model, vocabulary, len(draws), draws.shape[1], **options)


def speed(setting: Setting, vocabulary: JointVocabulary) -> dict[str, Any]:
    """Seconds per batch of pictures, and ratios."""
    report: dict[str, Any] = {}
    draws = uniforms(range(max(setting.batch_sizes)), num_codes(setting))
    count, heads = draws.shape[1], setting.hidden_size // HEAD_DIM
    many, one = new_model(setting, vocabulary, heads), new_model(setting, vocabulary, 1)
    for batch_size in setting.batch_sizes:
        arms: dict[str, Callable[[], Any]] = {
            "generate": lambda size=batch_size: generates(many, vocabulary, size, count, do_sample=True, top_k=0),
            "ours": lambda size=batch_size: ours(many, vocabulary, size, draws),
            "ours, 1 key-value head": lambda size=batch_size: ours(one, vocabulary, size, draws),
            "ours, guided": lambda size=batch_size: ours(many, vocabulary, size, draws, 2.0),
        }
        times = measure(arms, setting.repeats)
        seconds = {name: found["cpu_seconds"] for name, found in times.items()}
        report[f"batch {batch_size}"] = {
            "cpu_seconds": {name: round(value, 4) for name, value in seconds.items()},
            "wall_seconds": {name: round(found["seconds"], 4) for name, found in times.items()},
            "milliseconds_per_step": {name: round(1000 * value / count, 3) for name, value in seconds.items()},
            "speedup": round(seconds["generate"] / seconds["ours"], 2),
            "speedup_of_default": round(seconds["generate"] / seconds["ours, 1 key-value head"], 2),
            "cost_of_guidance": round(seconds["ours, guided"] / seconds["ours"], 3),
        }
    return {"parameters": {"generate": many.num_parameters(), "1 key-value head": one.num_parameters()}} | report


def equality(setting: Setting, vocabulary: JointVocabulary) -> dict[str, Any]:
    """Shares of pictures whose tokens are all those of `generate()` under the grammar, from the same numbers.

    Where one differs: how far its number was from a boundary of the draw, when the tokens first differed.
    """
    report: dict[str, Any] = {}
    draws = uniforms(range(setting.num_equal), num_codes(setting))
    for name, dtype in (("float64", torch.float64), ("float32", torch.float32)):
        model = new_model(setting, vocabulary, 1).to(dtype=dtype)  # pyright: ignore
        margins: list[float] = []
        for part in draws.split(50):
            found, expected = ours(model, vocabulary, len(part), part), reference(model, vocabulary, part)
            for row in (found != expected).any(1).nonzero().flatten().tolist():
                place = int((found[row] != expected[row]).nonzero()[0])
                margins.append(margin(model, vocabulary, expected[row, : place + 1], float(part[row, place])))
        report[name] = {
            "equal_pictures": 1 - len(margins) / len(draws),
            "furthest_from_a_boundary": max(margins, default=0.0),
        }
    return report


@torch.inference_mode()
def margin(model: PreTrainedModel, vocabulary: JointVocabulary, ids: torch.Tensor, uniform: float) -> float:
    """How far the number that drew the last of some ids was from another token, in units of probability."""
    prompt = torch.tensor(text_to_image_prompt(vocabulary, CAPTION, SIZE))
    logits = model(torch.cat([prompt, ids[:-1]])[None]).logits[0, -1]
    level = next(n for n in range(vocabulary.num_levels) if ids[-1] in vocabulary.level_ids(n))
    cumulative = torch.softmax(logits[vocabulary.level_ids(level)].double(), -1).cumsum(-1)
    return float((cumulative - uniform).abs().min())


def num_codes(setting: Setting) -> int:
    return sum(rows * columns for rows, columns in GRIDS[: setting.num_levels])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds, and means nothing")
    parser.add_argument("--levels", type=int, default=3, help="3 are 81 codes a picture, 4 are 337")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-equality", action="store_true", help="leave out the comparison token by token")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    setting = QUICK if arguments.quick else Setting(num_levels=arguments.levels)
    vocabulary = new_vocabulary(setting.num_levels)
    report = {"threads": arguments.threads, "codes": num_codes(setting), "speed": speed(setting, vocabulary)}
    if not arguments.no_equality:
        report["equality"] = equality(setting, vocabulary)
    print_report(report, arguments.json)


if __name__ == "__main__":
    main()
