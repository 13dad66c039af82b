import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_chain import CAPTIONS, NUM_PICTURES, codes_folder, image_tokenizer, pictures, processor, tokenizer_folder
from tiny_pictures import picture, png, write_files
from typer.testing import CliRunner

from pictogram.__main__ import app
from pictogram.hub.errors import InputError
from pictogram.pipelines.tokenize import run_tokenize, tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.codes_check import check_codes
from pictogram.tokenizer.codes_dataset import load_codes


def test_codes_are_those_of_the_tokenizer():
    codes = load_codes(codes_folder())
    images: list[Image.Image] = [Image.open(path) for path in sorted(pictures().glob("*.png"))]
    expected = image_tokenizer().encode(processor()(images, return_tensors="pt")["pixel_values"])
    for stored, level in zip(codes.codes(range(NUM_PICTURES)), expected, strict=True):
        assert torch.equal(stored, level)
    assert [codes.captions(row) for row in range(8)] == [[caption] for caption in CAPTIONS]


def test_the_command_tells_what_was_left_out(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (20, 20)).save(data / "a.png")
    (data / "b.png").write_bytes(b"damaged")
    config = TokenizeConfig(data=str(data), model=str(tokenizer_folder()), output=str(tmp_path / "codes"))
    failures = ["b.png (not a picture PIL can read)"]
    counts = {"pictures": 1, "with_caption": 0, "failures": failures}
    assert run_tokenize(config) == {"codes": config.output, "split": "train", **counts}


def test_the_same_folder_again_changes_nothing_and_another_split_is_added():
    before = {path: path.read_bytes() for path in codes_folder().rglob("*.parquet")}
    options: dict[str, Any] = dict(
        data=str(pictures()), model=str(tokenizer_folder()), output=str(codes_folder()), rows_per_shard=10
    )
    manifest = tokenize(TokenizeConfig(**options))
    assert {path: path.read_bytes() for path in codes_folder().rglob("*.parquet")} == before
    assert manifest.splits["train"].rows == NUM_PICTURES


def test_codes_of_two_tokenizers_are_not_mixed(tmp_path):
    options: dict[str, Any] = dict(data=str(pictures()), output=str(tmp_path / "codes"))
    tokenize(TokenizeConfig(**options, model=str(tokenizer_folder())))
    with pytest.raises(InputError, match="codes_fingerprint"):
        tokenize(TokenizeConfig(**options, model=str(tokenizer_folder(1))))


@pytest.mark.parametrize("option", ["batch_size", "rows_per_shard"])
def test_sizes_below_1_are_refused(option: str):
    with pytest.raises(InputError, match=f"{option} must be at least 1"):
        TokenizeConfig(**{option: 0})  # pyright: ignore[reportArgumentType]


def run(*arguments: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["tokenize", *arguments, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def bomb() -> bytes:
    """The header of a PNG of 60,000 x 60,000 pixels."""
    content = bytearray(png(0, (8, 8)))
    content[16:24] = (60000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def jpeg_with_broken_exif(folder: Path) -> bytes:
    picture(5, (16, 16)).save(folder / "exif.jpg", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xffbroken")
    return (folder / "exif.jpg").read_bytes()


def test_ten_kinds_of_damage(tmp_path):
    good = {f"good/{index:03d}.png": png(index, (16, 16)) for index in range(190)}
    strange = {  # good pictures all the same
        "wrong_extension.jpg": png(1, (16, 16)),
        "broken_exif.jpg": jpeg_with_broken_exif(tmp_path),
        "other/000.png": png(2, (16, 16)),  # a name that is there twice
    }
    bad = {
        "truncated.png": png(3, (64, 64))[:3000],
        "empty.png": b"",
        "page.jpg": b"<html><body>404</body></html>",
        "bomb.png": bomb(),
        "caption.png": png(4, (16, 16)),
        "noise.gif": bytes(range(256)),
    }
    data = write_files(tmp_path / "in", good | strange | bad | {"caption.txt": b"M\xfcller"})
    (data / "dangling.png").symlink_to(data / "nowhere.png")
    expected = {*bad, "dangling.png"}
    if os.geteuid():  # root may read everything
        (data / "forbidden.png").write_bytes(png(6))
        (data / "forbidden.png").chmod(0)
        expected.add("forbidden.png")
    found = run("--data", str(data), "--model", str(tokenizer_folder()), "--output", str(tmp_path / "out"), code=3)
    assert found["pictures"] == len(good) + len(strange)
    failures = dict(failure.removesuffix(")").split(" (", 1) for failure in found["failures"])
    assert set(failures) == expected
    assert "truncated" in failures["truncated.png"]
    assert failures["empty.png"] == "empty file"
    assert failures["page.jpg"] == failures["noise.gif"] == "not a picture PIL can read"
    assert failures["dangling.png"] == "file not found"
    assert failures["caption.png"] == "its caption caption.txt is not UTF-8"
    assert "3600000000 pixels" in failures["bomb.png"]
    assert check_codes(tmp_path / "out").problems == []


def test_status_and_check_of_finished_codes(tmp_path):
    folder, model = str(codes_folder()), str(tokenizer_folder())
    (status,) = run("--status", folder)["splits"]
    assert (status["is_complete"], status["pictures"], status["done"]) == (True, NUM_PICTURES, status["num_shards"])
    found = run("--check", folder, "--model", model, "--picture", str(tmp_path / "rows.png"))
    assert (found["rows"], found["problems"]) == (NUM_PICTURES, [])
    assert Image.open(tmp_path / "rows.png").width > 8 * 16
    shown = CliRunner().invoke(app, ["tokenize", "--status", folder]).stdout
    assert f"train: complete; {status['done']} of {status['done']} shards done, 0 running; 16 of 16 pictures" in shown


def test_a_check_that_finds_something_tells_by_its_exit_code(tmp_path):
    options = ["--data", str(pictures()), "--model", str(tokenizer_folder()), "--output", str(tmp_path)]
    run(*options, "--rows-per-shard", "8")
    (tmp_path / "data" / "train-00001-of-00002.parquet").unlink()
    problems = run("--check", str(tmp_path), code=3)["problems"]
    assert "train-00001-of-00002.parquet is missing" in problems[0]


def test_many_failures_are_cut_short_for_people(tmp_path):
    write_files(tmp_path / "in", {f"{index:02d}.png": b"" for index in range(13)} | {"z.png": png()})
    options = ["--data", str(tmp_path / "in"), "--model", str(tokenizer_folder()), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["tokenize", *options])
    assert done.exit_code == 3
    assert "09.png (empty file), and 3 more" in done.stdout and "10.png" not in done.stdout


def test_options_that_do_not_go_together():
    with pytest.raises(InputError, match="one at a time"):
        TokenizeConfig(check="a", status="b")
    with pytest.raises(InputError, match="picture goes with check"):
        TokenizeConfig(picture="a.png")


@pytest.mark.slow
def test_torchrun_with_two_processes_killed_and_started_again(tmp_path):
    files = {f"{index:03d}.png": png(index, (16, 16)) for index in range(400)}
    data = write_files(tmp_path / "in", files | {"bad.png": b""})
    options = ["--data", str(data), "--model", str(tokenizer_folder()), "--rows-per-shard", "4", "--batch-size", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    alone = [sys.executable, "-m", "pictogram.pipelines.tokenize", *options, "--output", str(tmp_path / "one")]
    assert subprocess.run(alone, env=environment, capture_output=True, check=False).returncode == 3
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, "-m", "pictogram.pipelines.tokenize", *options, "--output", str(tmp_path / "two")]
    for wanted in (1, 30, 60):  # shards that are there when the processes are killed
        process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((tmp_path / "two" / "data").glob("*.parquet"))) < wanted:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "two" / "pictogram.json").exists(), "killed too late to show anything"
    subprocess.run(command, env=environment, capture_output=True, check=False)

    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert contents(tmp_path / "two") == contents(tmp_path / "one")
