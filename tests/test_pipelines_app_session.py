import pytest
from tiny_pictures import picture

from pictogram.hub.errors import InputError
from pictogram.pipelines.app_actions import DrawnPicture
from pictogram.pipelines.app_session import Session, chosen_picture, take


def test_the_first_picture_until_another_is_clicked():
    session = Session([DrawnPicture(picture(seed), (), seed=seed) for seed in range(3)])
    assert chosen_picture(session).seed == 0
    assert chosen_picture(take(session, "2")).seed == 2
    for nonsense in ("3", "-1", "", "x", "1.5"):
        assert chosen_picture(take(session, nonsense)).seed == 0


def test_nothing_drawn():
    with pytest.raises(InputError, match="nothing is drawn yet"):
        chosen_picture(take(Session(), "0"))
