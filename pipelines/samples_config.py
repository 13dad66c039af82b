"""The settings of `pictogram evaluate samples`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..hub.command_line import check_options, entries, option
from ..hub.errors import InputError
from .sample_classifier import ClassifierRecipe
from .sample_shards import MOST_SET_SEED

METRICS = ("cas", "fd", "precision-recall", "memorisation")


@dataclass(kw_only=True)
class SamplesEvaluation:
    """What is measured."""

    model: str = option(
        "bundle",
        "Bundle that draws: a folder, owner/name on the Hub, or the shipped fashion.",
    )
    samples: str = option(
        "",
        "Pictures that something else has drawn, with class labels: a folder, parquet, or any `datasets` name. By "
        "default the bundle draws, into the folder of --out.",
    )
    tokenizer: str = option(
        "", "With --samples: image tokenizer whose decoded pictures stand beside them; by default there are none."
    )
    data: str = option("embedded", "Real pictures with class labels: a folder, parquet, or any `datasets` name.")
    split: str = option("test", "Split that classifiers are tested on and samples compared with.")
    reference_split: str = option("train", "Split that the model learned from.")
    column: str = option("", "With the classes; by default the first with class labels.")
    metric: str = option(",".join(METRICS), "What to measure, with commas.")
    num_images: int = option(10_000, "Pictures of each arm, equally many of each class.", at_least=2)
    prompts: str = option(
        "", "What to draw for each class, with commas, in the order of the classes; their names unless told."
    )
    guidance_scale: str = option("1", "One number, or one for each level with commas; 1 draws as the model does.")
    temperature: str = option("", "Likewise; the model's own unless told.")
    top_p: str = option("", "Likewise.")
    batch_size: int = option(250, "Pictures drawn at a time.", at_least=1)
    num_steps: int = option(ClassifierRecipe.num_steps, "Steps of every classifier.", at_least=1)
    num_classifiers: int = option(
        1, "Classifiers of each arm, which differ in their seeds; the score is their mean.", at_least=1
    )
    seed: int = option(0, "Seed of everything random.", at_least=0, at_most=MOST_SET_SEED)
    feature_seed: int = option(
        1000,
        "Of the classifier in whose features pictures are compared: none that anything was tuned with.",
        at_least=0,
    )
    kept: str = option("", "Folder of what classifiers have said before, to share; by default inside --out.")
    card: bool = option(False, "Keep the result in the bundle's folder as well, where its card finds it.")
    output: str = option("samples", "Folder for the samples, evaluation.json and pictures.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.card and self.samples:
            raise InputError("card is for what the bundle draws itself, not for samples of something else")
        if self.tokenizer and not self.samples:
            raise InputError("tokenizer is for samples of something else; a bundle has its own")
        if self.samples and (told := self._told_of_drawing()):
            raise InputError(f"{told[0]} is for what the bundle draws itself, not for samples of something else")
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise InputError(f"metric must be some of {', '.join(METRICS)}, got {self.metric!r}")

    def _told_of_drawing(self) -> list[str]:
        """The options that tell how to draw, and are not what they are by default."""
        names = ("prompts", "guidance_scale", "temperature", "top_p", "batch_size")
        defaults = {field.name: field.default for field in fields(self)}
        return [name for name in names if getattr(self, name) != defaults[name]]

    @property
    def metrics(self) -> list[str]:
        """The names in `metric`."""
        return entries(self.metric)
