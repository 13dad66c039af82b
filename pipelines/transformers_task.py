"""Bundles in `transformers.pipeline`: the task "text-to-image", which transformers itself does not have."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import GeneratorType
from typing import Any

from torch.utils.data import Dataset, IterableDataset
from transformers import AutoModelForCausalLM, Pipeline, PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY

from ..hub.errors import InputError
from ..hub.repository import PushedRepository, is_hub_name
from ..lm.bundle import Bundle
from .bundle_pipeline import check_positive
from .text_to_image import TextToImagePipeline

TASK = "text-to-image"


class TextToImageTask(Pipeline):
    """What `transformers.pipeline("text-to-image", model=...)` gives: a `TextToImagePipeline` in transformers' manner.

    A prompt gives a list of `{"image": PIL picture, "seed": int, "bits": float}`, one per picture; a list of prompts, a
    dataset or a generator gives one such list per prompt. The pictures are those of `TextToImagePipeline`, whatever
    the batch size.

    Args:
        model: the prior. `pipeline` loads it from the bundle's folder or its name on the Hub.
        bundle: that the prior belongs to, if it was not loaded from there: a `Bundle`, its folder or its name.
        options: those of every `transformers.Pipeline`, and those of a call as defaults.

    Raises:
        InputError: the model was not loaded from a bundle, or does not belong to the one given.

    Example:
        import pictogram.pipelines  # registers the task
        from transformers import pipeline

        draw = pipeline("text-to-image", model="pictogram-demo/bundle")
        draw("red apple", num_images=4, seed=0)[0]["image"].save("apple.png")
    """

    _load_tokenizer = False
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False

    def __init__(
        self, model: PreTrainedModel, *, bundle: Bundle | str | os.PathLike[str] | None = None, **options: Any
    ):
        self.bundle = _bundle_of(model, bundle)
        # Without something that prepares its inputs a `Pipeline` makes no batches.
        super().__init__(model, image_processor=self.bundle.image_processor, **options)
        self.bundle.image_tokenizer.to(self.device)
        self._text_to_image = TextToImagePipeline(self.bundle)

    def __call__(self, inputs: Any, **options: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draws.

        Args:
            inputs: a prompt, or a list, a generator or a torch dataset of them.
            options: `num_images` per prompt; `seed` of the first picture, the others count up from it through all
                prompts; `guidance_scale`, `guidance_interval`, `temperature`, `top_k`, `top_p`, `size`, `symbol` and
                `num_candidates` as in `TextToImagePipeline`; `batch_size`, prompts at a time; `num_workers`.

        Returns:
            For one prompt a list of dicts, see the class; for a list a list of these; else an iterator over them.

        Raises:
            InputError: no prompts, a prompt that is no string, or see `TextToImagePipeline`.
        """
        return super().__call__(_numbered(inputs), **options)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:  # pyright: ignore
        """Writes the bundle, see `Bundle.save_pretrained`."""
        self.bundle.save_pretrained(save_directory)

    def push_to_hub(self, repo_id: str, **options: Any) -> PushedRepository:  # pyright: ignore
        """Puts the bundle on the Hub, see `Bundle.push_to_hub`."""
        return self.bundle.push_to_hub(repo_id, **options)

    def _sanitize_parameters(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        num_images: int | None = None,
        seed: int | None = None,
        guidance_scale: float | Sequence[float] | None = None,
        guidance_interval: tuple[float, float] | None = None,
        temperature: float | Sequence[float] | None = None,
        top_k: int | Sequence[int] | None = None,
        top_p: float | Sequence[float] | None = None,
        size: str | None = None,
        symbol: int | None = None,
        num_candidates: int | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if seed is not None and not isinstance(seed, int):
            raise InputError(f"seed must be a whole number, that of the first picture, got {seed!r}")
        counted = {"num_images": None if num_images is None else check_positive("num_images", num_images)}
        drawing = {
            "guidance_scale": guidance_scale,
            "guidance_interval": guidance_interval,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "size": size,
            "symbol": symbol,
            "num_candidates": num_candidates,
        }
        return _given({"seed": seed, **counted}), _given({**counted, **drawing}), {}

    def preprocess(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input_: _Numbered, seed: int = 0, num_images: int = 1
    ) -> dict[str, Any]:
        """What one prompt asks for: its words and the seed of its first picture."""
        if not isinstance(input_.prompt, str):
            raise InputError(f"a prompt must be a string, got {type(input_.prompt).__name__}")
        return {"prompt": input_.prompt, "seed": seed + input_.number * num_images}

    def _forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input_tensors: dict[str, Any], num_images: int = 1, **options: Any
    ) -> dict[str, Any]:
        """Draws for one prompt and the seed of its first picture, or for lists of both."""
        is_batch = isinstance(input_tensors["prompt"], list)
        prompts, firsts = (each if is_batch else [each] for each in (input_tensors["prompt"], input_tensors["seed"]))
        seeds = [first + number for first in firsts for number in range(num_images)]
        drawn = self._text_to_image(prompts, num_images=num_images, seed=seeds, **options)
        columns = zip(drawn.images, drawn.seeds, drawn.bits.tolist(), strict=True)
        pictures = [{"image": image, "seed": seed, "bits": bits} for image, seed, bits in columns]
        groups = [pictures[first : first + num_images] for first in range(0, len(pictures), num_images)]
        return {"pictures": groups if is_batch else groups[0]}

    def postprocess(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, model_outputs: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """The pictures of one prompt."""
        return model_outputs["pictures"]


def register() -> None:
    """Makes the task known to `transformers.pipeline`."""
    PIPELINE_REGISTRY.register_pipeline(
        TASK, pipeline_class=TextToImageTask, pt_model=AutoModelForCausalLM, type="multimodal"
    )


@dataclass(frozen=True)
class _Numbered:
    """A prompt and how many come before it, so that its seeds do not hang on batches and workers."""

    number: int
    prompt: Any


class _NumberedPrompts(Dataset[_Numbered]):
    def __init__(self, prompts: Any):
        self.prompts = prompts

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, number: int) -> _Numbered:
        return _Numbered(number, self.prompts[number])


def _numbered(inputs: Any) -> Any:
    if isinstance(inputs, str):
        return _Numbered(0, inputs)
    if isinstance(inputs, GeneratorType | IterableDataset):
        return _number_all(inputs)
    if isinstance(inputs, Dataset):
        return _NumberedPrompts(inputs)
    if not isinstance(inputs, Sequence):
        raise InputError(
            f"a prompt, or a list, a generator or a torch dataset of prompts is expected, got {type(inputs).__name__}"
        )
    if not len(inputs):
        raise InputError("at least one prompt is expected, got none")
    return list(_number_all(inputs))


def _number_all(prompts: Any) -> Iterator[_Numbered]:
    return (_Numbered(number, prompt) for number, prompt in enumerate(prompts))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """What the caller named, so that defaults stay where they are."""
    return {name: value for name, value in options.items() if value is not None}


def _bundle_of(model: PreTrainedModel, bundle: Bundle | str | os.PathLike[str] | None) -> Bundle:
    """The bundle with `model` for its prior."""
    if isinstance(bundle, Bundle):
        tokens, ids = model.config.vocab_size, bundle.vocabulary.vocab_size
        if tokens != ids:
            raise InputError(f"the model has {tokens} tokens, but the bundle's vocabulary {ids}")
        return replace(bundle, prior=model.eval())
    if bundle is not None:
        return Bundle.from_pretrained(bundle, prior=model)
    name = model.name_or_path
    if not name:
        raise InputError(f"the model was not loaded from a bundle: {_NAME_IT}")
    # What transformers has loaded is of this commit, whatever was pushed since.
    revision = getattr(model.config, "_commit_hash", None) if is_hub_name(name) else None
    try:
        return Bundle.from_pretrained(name, revision, prior=model)
    except InputError as error:
        raise InputError(f"{TASK} needs a bundle, but {error}; for a model apart from its bundle {_NAME_IT}") from error


_NAME_IT = f'name the one it belongs to: pipeline("{TASK}", model, bundle=...)'
