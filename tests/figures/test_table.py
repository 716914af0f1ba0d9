"""A figure is a row of the table: of which command, by what name, drawn by what."""

from pathlib import Path

import pytest

from histokit.app import COMMANDS
from histokit.errors import UsageError
from histokit.figures import check_figure_of, draw_figure, table
from histokit.named_objects import named_object

OTHER = ("evaluate", "other", "what it is given", "tests.figures.test_table:tell")


@pytest.fixture
def drawn(monkeypatch):
    """A second figure of ``evaluate``, which tells what it was given."""
    monkeypatch.setattr(table, "FIGURES", (*table.FIGURES, OTHER))


def tell(found, path):
    return Path(f"{found} {path}")


@pytest.mark.parametrize("row", table.FIGURES, ids=lambda row: row[1])
def test_every_row_is_of_a_command_and_can_be_drawn(row):
    command, _, _, function = row
    assert command in {" ".join(filter(None, (group, name))) for group, name, *_ in COMMANDS}
    assert callable(named_object(function))


def test_the_first_is_drawn_unless_another_is_named(drawn, monkeypatch):
    assert table.find_figure("evaluate", "a:b.png") == ("scores", "a:b.png")
    assert table.find_figure("evaluate", "scores:b.png") == ("scores", "b.png")
    assert table.find_figure("compare", "./other:b.png") == ("ranks", "./other:b.png")
    assert draw_figure("evaluate", "runs", "other:b.png") == Path("runs b.png")


@pytest.mark.parametrize(
    ("text", "near"), [("other:b.png", ""), ("rank:b.png", "Did you mean 'ranks'? "), ("ROC:b.png", "")]
)
def test_what_is_no_figure_of_a_command_is_not_taken_for_a_path(text, near):
    with pytest.raises(UsageError, match=f"compare draws no figure '{text[:-6]}'") as caught:
        check_figure_of("compare", text)
    assert caught.value.next == f"{near}It draws ranks, labels, layers; a path that begins so is written ./{text}"


def test_a_name_without_a_file_is_told():
    with pytest.raises(UsageError, match="--figure roc: names no file"):
        check_figure_of("evaluate", ["roc:"])


def test_what_cannot_be_written_is_refused_whichever_is_named(drawn, tmp_path):
    check_figure_of("evaluate", None)
    check_figure_of("evaluate", f"other:{tmp_path / 'b.png'}")
    for text in (f"other:{tmp_path / 'no' / 'b.png'}", f"other:{tmp_path / 'b.txt'}"):
        with pytest.raises(UsageError):
            check_figure_of("evaluate", text)
