import pytest
import yaml

from pictogram.hub.card import (
    card_text,
    has_draft_card,
    markdown_table,
    public_name,
    stage_card,
    write_draft_card,
)


def test_metadata_comes_first_in_its_order_and_is_valid_yaml():
    metadata = {"tags": ["a", "b: c"], "configs": [{"data_files": [{"split": "train", "path": "data/*.parquet"}]}]}
    _, yaml_text, body = card_text(metadata, "\n# Title\n\nText\n\n\n").split("---\n", 2)
    assert yaml.safe_load(yaml_text) == metadata
    assert list(yaml.safe_load(yaml_text)) == ["tags", "configs"]
    assert body == "\n# Title\n\nText\n"


def test_cells_of_tables_cannot_break_them():
    table = markdown_table(["a", "b"], [["x|y", "1\n2"], [3, None]])
    assert table.splitlines() == ["| a | b |", "|---|---|", r"| x\|y | 1 2 |", "| 3 | None |"]


def test_paths_of_this_machine_stay_here(tmp_path):
    assert public_name(str(tmp_path / "photos")) == "photos"
    assert public_name("embedded") == "embedded"
    assert public_name("owner/name") == "owner/name"


def test_a_draft_is_known_until_it_is_changed(tmp_path):
    assert not has_draft_card(tmp_path)
    write_draft_card(tmp_path, "# Title\n\n<!-- a note -->\n")
    path = tmp_path / "README.md"
    draft = path.read_bytes()
    assert draft.startswith(b"# Title\n") and has_draft_card(tmp_path)
    path.write_bytes(draft.replace(b"\n", b"\r\n"))
    assert has_draft_card(tmp_path), "other line ends are no change"
    for changed in (draft + b"More.\n", draft.replace(b"Title", b"My title"), b"# Mine\n", b"", b"\xff"):
        path.write_bytes(changed)
        assert not has_draft_card(tmp_path)


@pytest.mark.parametrize("draft", [True, False])
def test_a_card_of_the_folder_s_own_is_staged_and_a_draft_is_not(draft, tmp_path):
    folder, staging = tmp_path / "folder", tmp_path / "staging"
    folder.mkdir()
    staging.mkdir()
    write_draft_card(folder, "# Draft\n")
    if not draft:
        (folder / "README.md").write_text("# Mine\n")
    stage_card(folder, staging, lambda: "# New\n")
    assert (staging / "README.md").read_text() == ("# New\n" if draft else "# Mine\n")
