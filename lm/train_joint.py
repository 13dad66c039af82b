"""The joint stage: a bundle's image tokenizer and prior learn on together, by one objective of rate and distortion.

pictogram train-joint --from bundle --data photos/ --rate-weight 200 --output joint-bundle
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed

from ..hub.command_line import check_options, command, option, run_command, seed_option
from ..hub.errors import InputError
from ..hub.files import read_json
from ..hub.fingerprint import fingerprint
from ..hub.provenance import Provenance, history, public_settings, tokenizer_entry
from ..tokenizer import optimizers as tokenizer_optimizers
from ..tokenizer.accelerators import finish, start_accelerator
from ..tokenizer.batches import global_batch, prefix_counts, process_slice
from ..tokenizer.checkpoints import MetricsLog, TrainingFolder
from ..tokenizer.codes_manifest import library_versions
from ..tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from ..tokenizer.images import Failure
from ..tokenizer.loading import LoadedImageTokenizer
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.pixel_dataset import PixelDataset, load_pixels
from ..tokenizer.progress import progress_bar
from ..tokenizer.rate_warmup import NUM_WEIGHED
from ..tokenizer.schedule import cosine, set_learning_rate
from ..tokenizer.training_provenance import learned_from
from .bundle import Bundle
from .bundle_card import write_bundle_card
from .joint_model import JointModel, JointOutput
from .optimizers import build_optimizers
from .training_rows import image_tokenizer_of

_STEPS_BETWEEN = 50
"""Steps between measurements of what errors are worth."""

_WEIGHT_DECAY = 0.01

_LOGGED = ("loss", "distortion", "rate", "expected_rate")


@dataclass(kw_only=True)
class JointTrainingConfig:
    """Everything the numbers of a joint stage depend on, and where it writes.

    The description of each field is its command-line help.
    """

    from_bundle: str = option("bundle", "Bundle to go on from: a folder, or its name on the Hub.", flag="--from")
    output: str = option("joint-bundle", "Folder for the bundle; training again into it goes on.")
    data: str = option("embedded", 'Pictures: "embedded", a folder of images, parquet, or any `datasets` name.')
    split: str = option("train", "Split of the data to train on.")
    rate_weight: float = option(
        0.0, "Squared error of a picture, of pixels of 0 to 255, that a bit is worth; 0: the tokenizer's.", at_least=0
    )
    num_steps: int = option(500, "Training steps.", at_least=1)
    batch_size: int = option(64, "Pictures per step, over all processes.", at_least=1)
    learning_rate: float = option(2e-4, "Peak learning rate of the image tokenizer (AdamW).", above=0)
    prior_learning_rate: float = option(3e-4, "Peak learning rate of the prior (Muon).", above=0)
    warmup_steps: int = option(50, "Steps of linear warm-up; a cosine follows.", at_least=0)
    max_grad_norm: float = option(1.0, "Gradient norm above which either model's gradients are scaled down.", above=0)
    prefix_share: float = option(0.25, "Share of pictures that each proper prefix is decoded for.", above=0, at_most=1)
    seed: int = seed_option()
    checkpoint_every: int = option(250, "Steps between checkpoints.", at_least=1)
    log_every: int = option(50, "Steps between lines of metrics.jsonl.", at_least=1)

    def __post_init__(self) -> None:
        check_options(self)

    def settings(self) -> dict[str, Any]:
        """What a resumed run must agree on."""
        reporting = {"output", "from_bundle", "checkpoint_every", "log_every"}
        return {"stage": "joint"} | {key: value for key, value in asdict(self).items() if key not in reporting}


def train_joint(config: JointTrainingConfig) -> Bundle:
    """Trains tokenizer and prior of a bundle together and saves them as a new one; see `JointModel`.

    Codebooks stay, so codes keep their vectors; the encoder, and so the codes of pictures, changes, and with it the
    fingerprint: datasets of codes are made anew. The prior reads pictures without words and forgets words.

    Raises:
        InputError: a bundle that cannot learn so, a missing rate weight, unusable pictures, or an output folder of
            another run.
    """
    bundle = Bundle.from_pretrained(config.from_bundle)
    weight = _rate_weight(config, bundle)
    dataset, failures = load_pixels(config.data, config.split, bundle.image_processor)
    folder = TrainingFolder(config.output, config.settings() | _origin(bundle, dataset))
    if not folder.is_complete:
        start = _Start(bundle, image_tokenizer_of(bundle), history(bundle.checked_provenance()))
        _Trainer(config, folder, start, dataset, weight).run(failures)
    return Bundle.from_pretrained(config.output)


def _origin(bundle: Bundle, dataset: PixelDataset) -> dict[str, Any]:
    """A resumed run goes on only from the very models and pictures it began with."""
    models = [
        codes_fingerprint(bundle.image_tokenizer, bundle.image_processor),
        decoder_fingerprint(bundle.image_tokenizer),
        fingerprint(bundle.prior.state_dict(), {}),
    ]
    return {"start": [model[:16] for model in models], "pictures": dataset.fingerprint}


def _rate_weight(config: JointTrainingConfig, bundle: Bundle) -> float:
    tokenizer = bundle.image_tokenizer
    if not isinstance(tokenizer, ImageTokenizer):
        raise InputError(f"a joint stage needs an ImageTokenizer; {type(tokenizer).__name__} does not learn")
    if tokenizer.config.quantizer != "ema":
        kind = tokenizer.config.quantizer
        raise InputError(f"a joint stage keeps codebooks as they are, which needs quantizer ema; this one has {kind}")
    own = float(tokenizer.config.rate_weight)
    if own and config.rate_weight not in (0, own):
        raise InputError(f"the tokenizer's own rate weight is {own:g} and stays so, got {config.rate_weight:g}")
    if not (own or config.rate_weight):
        raise InputError("rate_weight must be above 0: the tokenizer was trained for distortion alone and has none")
    return own or config.rate_weight


@dataclass(frozen=True, eq=False)
class _Start:
    """What the stage goes on from.

    Attributes:
        bundle: whose parts learn.
        image_tokenizer: of the bundle, under the name that the bundle knows.
        earlier: trainings of the bundle, see `Provenance.earlier`.
    """

    bundle: Bundle
    image_tokenizer: LoadedImageTokenizer
    earlier: list[dict[str, Any]]


class _Trainer:
    """The state of one joint stage on one process."""

    def __init__(
        self,
        config: JointTrainingConfig,
        folder: TrainingFolder,
        start: _Start,
        dataset: PixelDataset,
        weight: float,
    ):
        self.config, self.folder, self.start, self.dataset = config, folder, start, dataset
        self.accelerator = start_accelerator("no", "", config.output)
        set_seed(config.seed)
        self.data = learned_from(config.data, config.split, dataset)
        bundle = self.bundle = start.bundle
        assert isinstance(bundle.image_tokenizer, ImageTokenizer)
        prior = bundle.prior.float()  # bfloat16 would round small updates away
        model = JointModel(bundle.image_tokenizer, prior, bundle.vocabulary, weight)
        model = model.to(self.accelerator.device).train()
        rates, decay = (config.learning_rate, config.prior_learning_rate), _WEIGHT_DECAY
        of_tokenizer = tokenizer_optimizers.build_optimizers(
            model.tokenizer, "adamw", learning_rate=rates[0], weight_decay=decay
        )
        of_prior = build_optimizers(model.prior, "muon", learning_rate=rates[1], weight_decay=decay)
        self.rates = [rates[0]] * len(of_tokenizer) + [rates[1]] * len(of_prior)
        self.share = process_slice(config.batch_size, self.accelerator.process_index, self.accelerator.num_processes)
        self.model, *self.optimizers = self.accelerator.prepare(model, *of_tokenizer, *of_prior)
        if self.accelerator.is_main_process:
            folder.open()

    def run(self, failures: list[Failure]) -> None:
        """Trains from the last checkpoint to the end, and saves the bundle."""
        first_step = self.folder.load(self.accelerator)
        is_main = self.accelerator.is_main_process
        log = MetricsLog(self.folder.path / "metrics.jsonl" if is_main else None, first_step)
        with progress_bar("joint", self.config.num_steps, first_step, enabled=is_main) as advance:
            for step in range(first_step, self.config.num_steps):
                output = self._step(step)
                done = step + 1
                if done % self.config.log_every == 0 or done == self.config.num_steps:
                    log.write(done, **{name: self._mean(output[name].detach()) for name in _LOGGED})
                if done % self.config.checkpoint_every == 0 and done < self.config.num_steps:
                    self.folder.save(self.accelerator, done)
                advance(1)
        self._finish(failures)

    def _step(self, step: int) -> JointOutput:
        """One step of all optimizers on global batch `step`."""
        config, model = self.config, self.accelerator.unwrap_model(self.model)
        rows = global_batch(len(self.dataset), config.batch_size, config.seed, step)
        if step % _STEPS_BETWEEN == 0:
            model.weigh(self.dataset.pixels(rows[:NUM_WEIGHED]).to(self.accelerator.device), config.seed + step)
        pixel_values = self.dataset.pixels(rows[self.share]).to(self.accelerator.device)
        proper = model.tokenizer.config.num_levels - 1
        counts = prefix_counts(step, config.batch_size, proper, config.prefix_share)[self.share]
        output: JointOutput = self.model(pixel_values, counts.to(self.accelerator.device))
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.accelerator.backward(output.loss)
        for part in (model.tokenizer, model.prior):  # apart: neither's gradients say anything of the other's
            self.accelerator.clip_grad_norm_(part.parameters(), config.max_grad_norm)
        height = cosine(step, config.num_steps, config.warmup_steps)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            set_learning_rate(optimizer, rate * height)
            optimizer.step()
        return output

    def _mean(self, value: torch.Tensor) -> float:
        """The mean over all processes, whose shares of the batch are equal."""
        reduced = self.accelerator.reduce(value, "mean")
        assert isinstance(reduced, torch.Tensor)
        return float(reduced)

    def _finish(self, failures: list[Failure]) -> None:
        if self.accelerator.is_main_process:
            model = self.accelerator.unwrap_model(self.model).eval()
            tokenizer, processor = model.tokenizer, self.bundle.image_processor
            vocabulary = replace(
                self.bundle.vocabulary,
                codes_fingerprint=codes_fingerprint(tokenizer, processor),
                decoder_fingerprint=decoder_fingerprint(tokenizer),
                ancestors=(),
            )
            # Tables of the old codes would no longer fit: `count-codes` makes new ones.
            bundle = replace(self.bundle, vocabulary=vocabulary, static_chances=None)
            bundle.save_pretrained(self.folder.path)
            self._provenance(bundle).save(self.folder.path)
            write_bundle_card(bundle, self.folder.path, prompt="")
            listed = [asdict(failure) for failure in failures]
            self.folder.complete({"steps": self.config.num_steps, "seed": self.config.seed, "failures": listed})
        finish(self.accelerator)

    def _provenance(self, bundle: Bundle) -> Provenance:
        """One training made the prior and its image tokenizer, which names the one before."""
        settings, vocabulary, before = self.folder.settings, bundle.vocabulary, self.start.image_tokenizer
        prints = {"codes": vocabulary.codes_fingerprint, "decoder": vocabulary.decoder_fingerprint}
        made = Provenance(
            stage=settings["stage"],
            fingerprints=prints,
            data=self.data,
            settings=public_settings(settings),
            versions=library_versions(),
            image_tokenizer=tokenizer_entry(before.name, before.revision, before.provenance),
            earlier=history(before.provenance),
        )
        return replace(
            made,
            fingerprints={"bundle": bundle.fingerprint, "codes": vocabulary.codes_fingerprint},
            image_tokenizer=tokenizer_entry(self.config.output, None, made),
            earlier=self.start.earlier,
        )


def run_training(config: JointTrainingConfig) -> dict[str, Any]:
    """Trains, and returns what the command prints."""
    train_joint(config)
    lines = MetricsLog.read(Path(config.output) / "metrics.jsonl")
    return {"bundle": config.output, **read_json(f"{config.output}/complete.json"), "last": lines[-1]}


main = command(
    JointTrainingConfig,
    run_training,
    "train-joint",
    """Let a bundle's image tokenizer and prior learn on together by rate and distortion; codebooks stay.

    Example: pictogram train-joint --from bundle --data photos/ --rate-weight 200 --output joint-bundle
    """,
)

if __name__ == "__main__":
    run_command(main)
