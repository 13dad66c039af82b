import pytest

from pictogram.tokenizer.progress import progress_bar


@pytest.mark.parametrize("enabled", [True, False])
def test_quiet_where_no_terminal_watches(enabled, capfd):
    with progress_bar("work", 10, 3, enabled=enabled) as advance:
        advance(4)
        advance(3)
    assert capfd.readouterr() == ("", "")


def test_on_a_terminal_it_shows_on_standard_error(capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar("work", 10) as advance:
        advance(10)
    out, err = capfd.readouterr()
    assert out == ""
    assert "work" in err
    assert "10/10" in err
