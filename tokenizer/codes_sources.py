"""What a name stands for when its pictures become codes: more than trainings take, for rows are read once, in order."""

from __future__ import annotations

from pathlib import Path

from ..hub.errors import InputError
from .columns import check_captions_are_text
from .images import load_image_source
from .input_shards import CodesSource
from .sources import files_of_split, pictures_among, stream_rows, tables_among, visible_files
from .stream_source import stream_source
from .tar_source import TarSource

_ARCHIVES = (".tar", ".tar.gz", ".tgz")


def open_codes_source(
    source: str, split: str = "train", caption_column: str | None = None, streaming: bool = False
) -> CodesSource:
    """Opens pictures to be made into codes.

    Args:
        source: what `load_image_source` takes; or a tar archive as webdataset writes it, or a folder of them, whose
            names or top folders may name splits.
        split: to read.
        caption_column: the column with the captions; found by its name unless told.
        streaming: reads parquet files or a named dataset shard by shard, without a copy on this machine.

    Raises:
        InputError: one line that says what is missing.
    """
    path = Path(source).expanduser()
    archives = _archives(path)
    if archives:
        if caption_column is not None:
            raise InputError(f"archives have their captions in files, {source} has no column {caption_column!r}")
        folder = path if path.is_dir() else path.parent
        chosen = files_of_split(path, archives, split) if path.is_dir() else archives
        return TarSource(source, tuple(chosen), folder)
    if streaming:
        found = stream_source(stream_rows(source, split), source, split, caption_column)
    else:
        found = load_image_source(source, split, caption_column)
    if caption_column is None:
        check_captions_are_text(found.features, source)
    return found


def _archives(path: Path) -> list[Path]:
    files = list(visible_files(path)) if path.is_dir() else [path] * path.is_file()
    archives = [file for file in files if file.name.endswith(_ARCHIVES)]
    for what, others in (("pictures", pictures_among(files)), ("parquet files", tables_among(files))):
        if archives and others:
            raise InputError(f"{path} holds {len(others)} {what} and {len(archives)} archives; name a folder of either")
    return archives
