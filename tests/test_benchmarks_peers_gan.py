"""`benchmarks/peers/projection_gan.py`: its layers beside plain ones, its losses, and whole runs on noise."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from pictogram import InputError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find their siblings in their own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))


def module(name):
    return importlib.import_module(name)


def networks():
    torch.manual_seed(0)
    found = module("gan_networks")
    config = found.NetworkConfig(num_classes=10)
    return found.Generator(config), found.Discriminator(config)


def quick(output, *more):
    module("projection_gan").main(["--output", str(output), "--quick", "--checkpoint-every", "3", *more])


def results(folder):
    """The bytes that the same seed must give again; times are beside them."""
    names = ["generator.safetensors", "samples/samples.json", "samples/samples-00000-of-00001.parquet"]
    return [(folder / name).read_bytes() for name in names]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder of an uninterrupted run, and its report. Read only."""
    folder = tmp_path_factory.mktemp("gan") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.syspath_prepend(str(BENCHMARKS / "peers"))
        quick(folder, "--json", str(folder.parent / "report.json"))
    return folder, json.loads((folder.parent / "report.json").read_text())


def test_hinge_losses():
    losses = module("gan_training")
    real, drawn = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert losses.discriminator_loss(real, drawn).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3)
    assert losses.generator_loss(drawn).item() == pytest.approx(2 / 3)


def test_convolutions_beside_doubling_and_halving_are_the_plain_ones():
    found = module("gan_networks")
    hidden, kernel, bias = torch.randn(2, 3, 7, 7), torch.randn(5, 3, 3, 3), torch.randn(5)
    plain = F.conv2d(F.interpolate(hidden, scale_factor=2), kernel, bias, padding=1)
    torch.testing.assert_close(found.convolve_doubled(hidden, kernel, bias), plain)
    for grid in (hidden, hidden[:, :, :6, :6]):  # the odd row and column are left out by both
        plain = F.avg_pool2d(F.conv2d(grid, kernel, bias, padding=1), 2)
        torch.testing.assert_close(found.convolve_halved(grid, kernel, bias), plain)


def test_shapes_and_numbers_of_parameters():
    generator, discriminator = networks()
    classes = torch.tensor([3, 9])
    pixels = generator(torch.randn(2, generator.config.latent_dim), classes)
    assert pixels.shape == (2, 1, 28, 28) and pixels.abs().max() <= 1
    assert discriminator(pixels, classes).shape == (2,)
    count = module("gan_networks").count_parameters
    assert 1.4e6 < count(generator) < 1.8e6
    assert 0.35e6 < count(discriminator) < 0.45e6


def test_pictures_of_a_class_differ_more_than_classes_before_training():
    generator, _ = networks()
    classes = torch.arange(100) % 10
    with torch.no_grad():
        pixels = generator(torch.randn(100, generator.config.latent_dim), classes).flatten(1)
    of_class = torch.stack([pixels[classes == number] for number in range(10)])
    assert of_class.var(1).mean() > 3 * of_class.mean(1).var(0).mean()


def test_statistics_are_those_of_the_weights_that_draw():
    generator, _ = networks()
    take_statistics = module("gan_training").take_statistics
    take_statistics(generator, 2, seed=0)
    first = generator.norm.running_var.clone()
    with torch.no_grad():
        generator.blocks[-1].conv2.weight.mul_(3)
    take_statistics(generator, 2, seed=0)  # forgets the first
    assert (generator.norm.running_var > first).all()
    assert not generator.training and generator.norm.num_batches_tracked == 2


def test_no_layer_of_the_discriminator_stretches():
    _, discriminator = networks()
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.mul_(3).add_(0.05 * torch.randn_like(parameter))
        for _ in range(30):  # one iteration of the power method in each
            discriminator(torch.rand(1, 1, 28, 28), torch.tensor([0]))
    weights = [layer.weight for layer in discriminator.modules() if hasattr(layer, "parametrizations")]
    assert len(weights) == 13
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


def test_the_class_is_an_inner_product():
    _, discriminator = networks()
    discriminator.eval()  # leaves the power method alone
    with torch.no_grad():
        pixels = torch.rand(1, 1, 28, 28)
        features = F.relu(discriminator.blocks(pixels)).sum((2, 3))
        both = discriminator(pixels.expand(2, -1, -1, -1), torch.tensor([1, 4]))
        expected = features @ (discriminator.embedding.weight[1] - discriminator.embedding.weight[4])
    torch.testing.assert_close(both[0] - both[1], expected[0], rtol=1e-5, atol=0)


def test_the_same_seed_gives_the_same_bytes(finished, tmp_path, capsys):
    folder, report = finished
    quick(tmp_path / "again")
    assert results(tmp_path / "again") == results(folder)
    printed = json.loads(capsys.readouterr().out)
    assert printed["parameters"]["generator"] == report["parameters"]["generator"] > 1.4e6
    assert printed["training"]["num_steps"] == 4 and printed["training"]["cpu_seconds"] > 0
    assert printed["sampling"]["num_images"] == 20
    quick(tmp_path / "other", "--seed", "1")
    assert results(tmp_path / "other")[0] != results(folder)[0]


def test_a_killed_run_goes_on_to_the_same_bytes(finished, tmp_path, monkeypatch):
    training = module("gan_training").GanTraining
    whole, first_steps = training.take_step, []

    def killed(self):
        if self.step == 3:
            raise KeyboardInterrupt
        return whole(self)

    monkeypatch.setattr(training, "take_step", killed)
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "run")
    monkeypatch.setattr(training, "take_step", lambda self: (first_steps.append(self.step), whole(self))[1])
    quick(tmp_path / "run")
    assert first_steps == [3]
    assert results(tmp_path / "run") == results(finished[0])
    assert not (tmp_path / "run" / "checkpoints").exists()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4]
    assert set(lines[0]) == {"step", "discriminator_loss", "generator_loss", "cpu_seconds"}


def test_a_finished_run_only_draws_what_is_missing(finished, monkeypatch):
    folder = finished[0]
    before = results(folder)
    monkeypatch.setattr(module("gan_training").GanTraining, "take_step", None)  # would not be callable
    quick(folder)
    assert results(folder) == before


def test_a_damaged_checkpoint_is_one_line(finished, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_bytes((finished[0] / "run.json").read_bytes())
    (folder / "checkpoints" / "state.pt").write_bytes(b"half of a file")
    with pytest.raises(SystemExit, match=r"error: .*state\.pt is damaged"):
        quick(folder)


def test_a_picture_depends_on_its_class_and_seed_alone(finished):
    peer = module("projection_gan")
    draw = peer.sampler(peer.load_generator(finished[0] / "generator.safetensors"))
    classes, seeds = [number % 10 for number in range(130)], list(range(500, 630))
    together = draw(classes, seeds)
    assert len(together) == 130 and together[0].size == (28, 28) and together[0].mode == "L"
    for place in (0, 57, 120):
        alone = draw([classes[place]], [seeds[place]])
        assert alone[0].tobytes() == together[place].tobytes()
    assert draw([4, 3], [501, 500])[1].tobytes() != together[0].tobytes()  # another class
    assert draw([0], [501])[0].tobytes() != together[0].tobytes()  # another seed


def test_pictures_of_a_source_are_grey_and_labelled(tmp_path):
    import datasets
    from tiny_pictures import picture

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [picture(seed, (28, 28)) for seed in range(4)], "label": [0, 1, 1, 0]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "train.parquet"))
    found = module("projection_gan").load_pictures(str(tmp_path), "train")
    assert found.pixels.shape == (4, 1, 28, 28)
    assert found.classes.tolist() == [0, 1, 1, 0] and found.names == ("a", "b")


def test_users_mistakes_are_one_line(tmp_path):
    peer = module("projection_gan")
    arguments = ["--data", str(tmp_path / "nowhere"), "--num-steps", "5", "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"error: .*nowhere does not exist"):
        peer.main(arguments)
    with pytest.raises(SystemExit, match="error: batch_size must be at least 1, got 0"):
        peer.main([*arguments, "--batch-size", "0"])
    with pytest.raises(SystemExit, match="--checkpoint-every must be at least 1, got 10000, 0"):
        peer.main([*arguments, "--checkpoint-every", "0"])
    with pytest.raises(InputError, match="learning_rate must be above 0, got 0"):
        module("gan_training").GanSetting(num_steps=1, learning_rate=0)
    with pytest.raises(InputError, match="num_steps must be at least 1, got 0"):
        module("gan_training").GanSetting(num_steps=0)
