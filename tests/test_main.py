import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main
from PIL import Image
from tiny_chain import bundle_folder, codes_folder, pictures, tokenizer_folder

from pictogram import __main__ as cli
from pictogram.hub.command_line import OUTPUT_FLAGS
from pictogram.lm.model import PRIOR_SIZES, PriorSize
from pictogram.pipelines.image_codec import ImageCodec

COMMANDS = [
    ["demo"],
    ["app"],
    ["train-tokenizer"],
    ["adapt"],
    ["train-patches"],
    ["import-tokenizer"],
    ["tokenize"],
    ["build-documents"],
    ["train-lm"],
    ["train-joint"],
    ["adapt-prior"],
    ["sweep-rates"],
    ["card"],
    ["push"],
    ["serve"],
    ["generate"],
    ["complete"],
    ["caption"],
    ["compress"],
    ["decompress"],
    ["info"],
    ["count-codes"],
    ["evaluate", "tokenizer"],
    ["evaluate", "prior"],
    ["evaluate", "classes"],
    ["evaluate", "captions"],
    ["evaluate", "names"],
    ["evaluate", "samples"],
    ["evaluate", "codec"],
    ["symbols", "atlas"],
    ["symbols", "clusters"],
    ["symbols", "emergence"],
    ["symbols", "names"],
    ["symbols", "retention"],
    ["symbols", "samples"],
]


@dataclass
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Runs the command line as its entry point does, in a fresh working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRIOR_SIZES, "tiny", PriorSize(64, 1, 64))
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        monkeypatch.setenv(name, "250")

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["pictogram", *map(str, arguments)])
        code = 0
        capfd.readouterr()
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


def document(ran: Ran) -> dict:
    """The one JSON document that a command printed, with nothing else on either stream."""
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert len(ran.out.splitlines()) == 1
    return json.loads(ran.out)


def commands_below(command) -> dict[str, object]:
    return getattr(command, "commands", {})


def test_these_are_all_the_commands():
    found = []
    for name in commands_below(typer.main.get_command(cli.app)):
        inner = commands_below(cli.load(name))
        found += [[name, sub] for sub in inner] if inner else [[name]]
    assert sorted(found) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example_and_words_for_every_option(run, command: list[str]):
    ran = run(*command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"Example: pictogram {' '.join(command)}" in ran.out
    found = cli.load(command[0])
    for name in command[1:]:
        found = commands_below(found)[name]
    for parameter in found.params:  # pyright: ignore
        assert getattr(parameter, "help", None), parameter.name
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in ran.out
        if parameter.name == "output":
            assert tuple(parameter.opts) == OUTPUT_FLAGS
    assert "--json" in ran.out


def test_help_of_the_whole(run):
    ran = run("--help")
    assert ran.code == 0
    assert all(command[0] in ran.out for command in COMMANDS)


def test_the_whole_says_of_each_command_what_it_says_of_itself():
    said = {name: cli.load(name).get_short_help_str(1000) for name in cli.COMMANDS}
    assert said == {name: entry.summary for name, entry in cli.COMMANDS.items()}


def test_help_waits_for_no_library():
    code = "import sys; from pictogram.__main__ import main; sys.argv = ['pictogram', '--help']; main()"
    watched = f"import atexit, sys; atexit.register(lambda: print(*sorted(sys.modules))); {code}"
    out = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True, check=True).stdout
    assert "train-tokenizer" in out
    assert not {"torch", "transformers", "datasets", "numpy", "PIL"} & set(out.split())


def test_a_command_that_is_none(run):
    ran = run("gnerate", "red apple")
    assert ran.code == 2 and "No such command 'gnerate'" in ran.err and "generate" in ran.err


def test_a_chain_by_hand(run, tmp_path):
    data = pictures()
    trained = document(
        run(
            *("train-tokenizer", "--data", data, "--image-size", 16, "--strides", "image,8", "--codebook-sizes", "4,8"),
            *("--patch-size", 8, "--hidden-size", 8, "--num-blocks", 1, "--num-steps", 3, "--batch-size", 4, "--json"),
        )
    )
    assert trained["num_images"] == 16 and trained["failures"] == []
    coded = document(run("tokenize", "--data", data, "--json"))
    assert coded == {"codes": "codes", "split": "train", "pictures": 16, "with_caption": 14, "failures": []}
    options = ("--size", "tiny", "--num-steps", 3, "--batch-size", 4, "--text-vocab-size", 290)
    learned = document(run("train-lm", *options, "--json"))
    assert (learned["bundle"], learned["steps"], learned["last"]["step"]) == ("bundle", 3, 3)
    drawn = document(
        run("generate", "red apple", "", "--model", "bundle", "--num-images", 2, "--folder", "each", "--json")
    )
    assert [picture["prompt"] for picture in drawn["pictures"]] == ["red apple", "red apple", "", ""]
    assert [picture["seed"] for picture in drawn["pictures"]] == [0, 1, 2, 3]
    for picture in drawn["pictures"]:
        with Image.open(picture["file"]) as image:
            assert image.size == (16, 16)
    assert (tmp_path / "samples.png").is_file()
    files = [str(data / "00.png"), str(data / "01.png")]
    completed = document(
        run(
            "complete",
            *files,
            "--model",
            "bundle",
            "--keep-rows",
            0.5,
            "--num-images",
            2,
            *("--folder", "completed", "--json"),
        )
    )
    assert [row["image"] for row in completed["pictures"]] == [file for file in files for _ in range(2)]
    assert [row["seed"] for row in completed["pictures"]] == [0, 1, 2, 3]
    assert all(row["kept_codes"] == [0, 2] and row["exact_codes"] == 2 for row in completed["pictures"])
    assert all(Path(row["file"]).is_file() for row in completed["pictures"])
    assert (tmp_path / "completions.png").is_file()
    captioned = document(run("caption", *files, "--model", "bundle", "--json"))
    assert [row["file"] for row in captioned["captions"]] == files
    for again, options in (("again", ()), ("static", ("--static", "--num-levels", 1))):  # train-lm counted the tables
        packed = document(run("compress", data, "--output", "all.picto", *options, "--json"))
        assert packed["pictures"] == 16 and packed["file_bytes"] == (tmp_path / "all.picto").stat().st_size
        told = document(run("info", "all.picto", "--json"))
        assert (told["pictures"], told["levels"]) == (16, [1] if options else ["all"])
        unpacked = document(run("decompress", "all.picto", "--output", again, "--json"))
        assert unpacked["files"] == [f"{number:02d}.png" for number in range(16)]
        with Image.open(tmp_path / again / "15.png") as image:
            assert image.size == (16, 16)
    scores = ("evaluate", "tokenizer", "--data", data, "--split", "train", "--picture", "grid.png")
    assert document(run(*scores, "--json"))["num_images"] == 16
    assert (tmp_path / "grid.png").is_file()
    measured = ("evaluate", "prior", "--split", "train", "--max-images", 9, "--output", "rates.json")
    rates = document(run(*measured, "--per-image", "bits.parquet", "--json"))
    assert rates["rate"]["codes"]["per_image"]["num_images"] == 9
    assert json.loads((tmp_path / "rates.json").read_text(encoding="utf-8")) == rates
    assert (tmp_path / "bits.parquet").is_file()
    classes = document(run("evaluate", "classes", "--split", "train", "--max-images", 5, "--json"))
    assert len(classes["classes"]) == 7
    assert document(run("evaluate", "captions", "--split", "train", "--json"))["num_images"] == 14
    assert document(run("evaluate", "names", "--data", data, "--num-captions", 3, "--json"))["num_captions"] == 3


def test_without_json_there_are_lines_to_read(run):
    bundle = bundle_folder()
    ran = run("generate", "red apple", "--model", bundle)
    assert (ran.code, ran.out, ran.err) == (0, "output: samples.png\nmodel: bundle-level\npictures: 1\n", "")
    file = pictures() / "03.png"
    ran = run("caption", file, file, "--model", bundle)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count(f"{file}: ") == 2
    ran = run("evaluate", "prior", "--model", bundle, "--codes", codes_folder(), "--split", "train")
    assert (ran.code, ran.err) == (0, "")
    assert "given the other" in ran.out and "16 pictures, 16x16x3, 14 with words" in ran.out
    for name, words in {"classes": "true \\ predicted", "captions": "of 14 captions are exactly right"}.items():
        ran = run("evaluate", name, "--model", bundle, "--codes", codes_folder(), "--split", "train")
        assert (ran.code, ran.err) == (0, "")
        assert words in ran.out
    ran = run("evaluate", "tokenizer", "--model", tokenizer_folder(), "--data", pictures(), "--split", "train")
    assert (ran.code, ran.err) == (0, "")
    assert "PSNR dB" in ran.out and "16 pictures (train), 16x16" in ran.out


def test_one_picture_makes_a_small_file(run, tmp_path):
    ran = run("compress", pictures() / "03.png", "--model", bundle_folder(), "--output", "a.picto")
    assert (ran.code, ran.err) == (0, "")
    assert (tmp_path / "a.picto").stat().st_size <= 16
    ran = run("info", "a.picto")
    assert ran.code == 0 and "kind: picture" in ran.out and "sizes: the model's own" in ran.out
    assert run("decompress", "a.picto", "--model", bundle_folder()).code == 0
    assert (tmp_path / "pictures" / "00000.png").is_file()
    document(run("count-codes", "--codes", codes_folder(), "--model", copied_bundle(tmp_path), "--json"))
    assert (tmp_path / "copied" / "code_frequencies.safetensors").is_file()


def copied_bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder(), tmp_path / "copied"))


def test_names_in_a_file_lead_nowhere_else(run, tmp_path):
    """Names are what somebody else wrote: only their last parts count, each once."""
    codec = ImageCodec.from_pretrained(bundle_folder())
    names = ["../../up.png", "/etc/passwd", "up.jpg", "..", "a\\b.gif", ".hidden"]
    data = codec.compress(sorted(pictures().glob("*.png"))[:6], names=names).data
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.picto").write_bytes(data)
    found = document(run("decompress", "in/x.picto", "--model", bundle_folder(), "--output", "in/out", "--json"))
    assert found["files"] == ["up.png", "passwd.png", "up-2.png", "picture.png", "b.png", "hidden.png"]
    assert sorted(path.name for path in (tmp_path / "in" / "out").iterdir()) == sorted(found["files"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "photos/00.png", "-o", "photos/00.png"], "photos/00.png would be replaced by what is made of it"),
        (["compress", "photos/00.png", "-o", "notes.txt"], "notes.txt exists and is no compressed file"),
        (["complete", "photos/00.png", "--keep-rows", 0.5, "-o", "photos/00.png"], "would be replaced by what is made"),
        (
            ["complete", "photos/0001.png", "photos/0000.png", "--keep-rows", 0.5, "--folder", "photos"],
            "photos/0000.png would be replaced by what is made of it",
        ),
        (["generate", "owl", "-o", "d/0000.png", "--folder", "d"], "d/0000.png would be written twice"),
        (["generate", "owl", "-o", "photos/00.png"], "photos/00.png exists, and pictogram has not drawn it"),
        (["generate", "owl", "--folder", "photos"], "photos/0000.png exists, and pictogram has not drawn it"),
    ],
)
def test_nothing_that_was_there_is_replaced(run, tmp_path, arguments, message):
    (tmp_path / "photos").mkdir()
    for name in ("00", "0000", "0001"):
        shutil.copy(pictures() / "00.png", tmp_path / "photos" / f"{name}.png")
    (tmp_path / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    ran = run(*arguments, "--model", bundle_folder())
    assert ran.code == 2 and message in " ".join(ran.err.split())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_what_was_drawn_may_be_drawn_again(run):
    for _ in range(2):
        assert run("generate", "owl", "--model", bundle_folder(), "--folder", "d").code == 0
        assert run("compress", "d/0000.png", "--model", bundle_folder(), "-o", "d.picto").code == 0


def test_names_that_are_no_text_are_printed_as_escapes(run, tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    try:
        shutil.copy(pictures() / "00.png", tmp_path / name)
    except OSError:
        pytest.skip("this file system takes no such name")
    found = document(run("caption", name, "--model", bundle_folder(), "--json"))
    assert found["captions"][0]["file"] == "caf\udce9.png"
    assert "caf\\udce9.png: " in run("caption", name, "--model", bundle_folder()).out


def test_decompress_replaces_no_file(run, tmp_path, monkeypatch):
    """Least of all the pictures that the file was made of."""
    photos = Path(shutil.copytree(pictures(), tmp_path / "photos"))
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    assert run("compress", "photos", "--model", bundle_folder(), "--output", "photos.picto").code == 0
    monkeypatch.setattr(ImageCodec, "decompress", None)
    ran = run("decompress", "photos.picto", "--model", bundle_folder(), "--output", "photos")
    assert ran.code == 2 and ran.out == ""
    assert "photos/00.png exists, and decompress replaces no file; give another --output, or remove what" in ran.err
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


def test_names_as_macos_and_phones_give_them(run, tmp_path):
    (tmp_path / "photos").mkdir()
    names = ["at 3.00\u202fPM.png", "fam\U0001f469\u200d\U0001f467.png", "ideo\u3000space.png", "soft\u00adhyphen.png"]
    for name in names:
        shutil.copy(pictures() / "00.png", tmp_path / "photos" / name)
    assert run("compress", "photos", "--model", bundle_folder(), "--output", "photos.picto").code == 0
    found = document(run("decompress", "photos.picto", "--model", bundle_folder(), "--output", "again", "--json"))
    expected = ["at 3.00PM.png", "fam\U0001f469\U0001f467.png", "ideospace.png", "softhyphen.png"]
    assert sorted(found["files"]) == sorted(expected)
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == sorted(expected)


def test_info_reads_no_names(run, tmp_path, monkeypatch):
    """A file of kilobytes may hold millions."""
    assert run("compress", pictures(), "--model", bundle_folder(), "--output", "a.picto").code == 0
    monkeypatch.setattr("pictogram.pipelines.codec_format._unpack_names", None)
    assert document(run("info", "a.picto", "--json"))["pictures"] == 16


def test_the_same_seed_writes_the_same_picture(run, tmp_path):
    for name in ("a.png", "b.png"):
        assert run("generate", "sad face", "--model", bundle_folder(), "--seed", 5, "--output", name).code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def mistakes(tmp_path: Path) -> dict[str, tuple[list[object], str]]:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("no picture")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture either")
    (tmp_path / "file").write_text("a file")
    (tmp_path / "file.pt2").write_text("a file")
    broken = Path(shutil.copytree(bundle_folder(), tmp_path / "broken"))
    (broken / "vocabulary.json").unlink()
    swapped = Path(shutil.copytree(bundle_folder(), tmp_path / "swapped"))
    shutil.rmtree(swapped / "image_tokenizer")
    shutil.copytree(tokenizer_folder(1), swapped / "image_tokenizer")
    bundle, good = bundle_folder(), pictures() / "00.png"
    train = [
        "train-tokenizer",
        "--data",
        pictures(),
        "--image-size",
        16,
        "--codebook-sizes",
        "4,8",
        "--strides",
        "image,8",
    ]
    lm = ["train-lm", "--codes", codes_folder(), "--tokenizer", tokenizer_folder()]
    return {
        "missing data": (["train-tokenizer", "--data", "./no/where"], "./no/where does not exist"),
        "empty folder": (["train-tokenizer", "--data", "empty"], "empty holds no files"),
        "no pictures": (["train-tokenizer", "--data", "words"], "1 files but no pictures"),
        "damaged pictures": (["train-tokenizer", "--data", "bad"], "none of the 1 pictures"),
        "strides": ([*train, "--strides", "image,10"], "multiple"),
        "no number": ([*train, "--strides", "image,x"], "strides must be whole numbers, got 'x'"),
        "size of strides": (["train-tokenizer", "--data", pictures(), "--image-size", 18], "multiples of 8 pixels"),
        "steps": ([*train, "--num-steps", 0], "num_steps must be at least 1, got 0"),
        "rate": ([*train, "--learning-rate", "nan"], "learning_rate must be above 0, got nan"),
        "no folder": ([*train, "--output", "file"], "file"),
        "under a file": (
            ["tokenize", "--data", pictures(), "--model", tokenizer_folder(), "--output", "file/x"],
            "file",
        ),
        "split": (
            ["tokenize", "--data", pictures(), "--model", tokenizer_folder(), "--split", "test"],
            "has no split 'test'",
        ),
        "no tokenizer": (["tokenize", "--data", pictures(), "--model", "empty"], "is not an image tokenizer: it lacks"),
        "no codes": (["train-lm", "--codes", "empty", "--tokenizer", tokenizer_folder()], "empty"),
        "wrong codes": ([*lm[:3], "--tokenizer", tokenizer_folder(1)], "holds codes of image tokenizer"),
        "prior size": ([*lm, "--size", "giant"], "size must be one of"),
        "order": ([*lm, "--order", "zigzag"], "order must be one of level, pyramid"),
        "precision": ([*lm, "--mixed-precision", "fp8"], "mixed_precision must be one of"),
        "tracker": ([*lm, "--trackers", "paper"], "trackers must be among"),
        "no bundle": (["generate", "a", "--model", "no/where"], "no folder of that name is here, and model no/where"),
        "broken bundle": (["generate", "a", "--model", "broken"], "lacks vocabulary.json"),
        "swapped": (["caption", good, "--model", "swapped"], "they do not belong together"),
        "long prompt": (["generate", "word " * 90, "--model", bundle], "but the model has 64"),
        "num images": (["generate", "a", "--model", bundle, "--num-images", 0], "num_images must be at least 1"),
        "seed": (["generate", "a", "--model", bundle, "--seed", -1], "seeds must be 0 or more"),
        "temperature": (
            ["generate", "a", "--model", bundle, "--temperature", -1],
            "temperature must be 0, or at least",
        ),
        "top p": (["generate", "a", "--model", bundle, "--top-p", 2], "top_p must be above 0"),
        "no png": (["generate", "a", "--model", bundle, "--output", "a.gif"], "--output must end in .png, got a.gif"),
        "output": (["generate", "a", "--model", bundle, "--output", "file/a.png"], "file"),
        "folder": (["generate", "a", "--model", bundle, "--folder", "file"], "file"),
        "no region": (["complete", good, "--model", bundle], "either keep_rows or a mask is expected, got neither"),
        "rows": (["complete", good, "--model", bundle, "--keep-rows", 2], "keep_rows must be above 0 and below 1"),
        "mask": (["complete", good, "--model", bundle, "--mask", "file"], "file cannot be read as a picture"),
        "no picture": (["caption", "file", "--model", bundle], "file cannot be read as a picture"),
        "missing picture": (["caption", "no.png", "--model", bundle], "no.png cannot be read as a picture"),
        "evaluate": (["evaluate", "tokenizer", "--model", "empty"], "is not an image tokenizer"),
        "grid": (["evaluate", "tokenizer", "--model", tokenizer_folder(), "--picture", "a.gif"], "--picture must end"),
        "features": (
            ["evaluate", "tokenizer", "--model", tokenizer_folder(), "--features", "file"],
            "file cannot be loaded as a TorchScript or torch.export module",
        ),
        "exported features": (
            ["evaluate", "tokenizer", "--model", tokenizer_folder(), "--features", "file.pt2"],
            "file.pt2 cannot be loaded as a TorchScript or torch.export module",
        ),
        "reference split": (
            ["evaluate", "tokenizer", "--model", tokenizer_folder(), "--reference-split", "x"],
            "has no split 'x'",
        ),
        "evaluate split": (
            ["evaluate", "prior", "--model", bundle, "--codes", codes_folder(), "--split", "x"],
            "has no split 'x'",
        ),
        "bits file": (
            ["evaluate", "prior", "--model", bundle, "--codes", codes_folder(), "--per-image", "bits.csv"],
            "go into a .parquet or .jsonl file, got bits.csv",
        ),
        "classes": (
            ["evaluate", "classes", "--model", bundle, "--codes", codes_folder(), "--split", "train", "--column", "x"],
            "the codes have no column 'x'",
        ),
        "captions": (
            ["evaluate", "captions", "--model", bundle, "--codes", codes_folder(), "--split", "x"],
            "has no split 'x'",
        ),
        "names": (
            ["evaluate", "names", "--model", bundle, "--data", pictures(), "--num-captions", 0],
            "num_captions must be at least 1",
        ),
        "demo": (["demo", "--output", "words"], "words exists and holds no demo"),
        "demo steps": (["demo", "--prior-steps", 0], "prior_steps must be at least 1"),
    }


def test_every_mistake_gives_one_line_and_exit_code_2(run, tmp_path):
    wrong = {}
    for name, (arguments, words) in mistakes(tmp_path).items():
        ran = run(*arguments)
        lines = ran.err.splitlines()
        fine = ran.code == 2 and ran.out == "" and len(lines) == 1 and lines[0].startswith("error: ")
        if not fine or words not in lines[0]:
            wrong[name] = ran
    assert wrong == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate"], "Missing argument"),
        (["generate", "a", "--seed", "x"], "'--seed'"),
        (["train-lm", "--nonsense"], "No such option"),
        (["paint"], "No such command"),
    ],
    ids=str,
)
def test_errors_of_usage_are_those_of_typer(run, arguments: list[str], words: str):
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_demo_prints_its_report(run, monkeypatch, tmp_path):
    from datasets import DatasetDict

    from pictogram.tokenizer import sources
    from pictogram.tokenizer.embedded import load_embedded

    whole = load_embedded()
    few = DatasetDict({"train": whole["train"].select(range(20)), "test": whole["test"].select(range(9))})
    monkeypatch.setattr(sources, "load_embedded", lambda: few)
    ran = run("demo", "--tokenizer-steps", 1, "--prior-steps", 1, "--json")
    assert ran.code == 0, ran.err
    assert [line[:4] for line in ran.err.splitlines()] == ["1/5 ", "2/5 ", "3/5 ", "4/5 ", "5/5 "]
    report = json.loads((tmp_path / "pictogram-demo" / "report.json").read_text())
    assert json.loads(ran.out) == report | {"output": "pictogram-demo"}


def test_waiting_threads_sleep_before_torch_is_loaded():
    code = """
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "torch" and "GOMP_SPINCOUNT" not in os.environ:
            sys.exit("torch came first")
sys.meta_path.insert(0, Watch())
from pictogram.__main__ import load
load("train-lm")
"""
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_as_a_process_of_its_own(tmp_path):
    """Exit codes and streams as a shell sees them, with libraries fresh: no bars, no notes, no traceback."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def shell(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pictogram", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path, env=environment)

    good = shell("generate", "red apple", "--model", bundle_folder(), "--json")
    bad = shell("generate", "red apple", "--model", "nowhere")
    out, err = good.communicate()
    assert (good.returncode, err) == (0, "")
    assert json.loads(out)["pictures"][0]["prompt"] == "red apple"
    out, err = bad.communicate()
    assert (bad.returncode, out) == (2, "")
    places = "neither a folder nor a name on the Hub, owner/name, nor a shipped model (noto, fashion)"
    assert err == f"error: nowhere is not a whole bundle: it is {places}\n"
