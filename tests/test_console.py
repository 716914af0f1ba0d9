"""What commands print."""

import io
import json

import pytest

from histokit import bars, console
from histokit.protocol.progress import duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless told to go on."""

    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(console, "state", console.State())


def test_the_pace_is_counted_from_the_first_report(clock):
    pace = bars.Pace()
    clock.now += 60
    assert pace.measure(100, 1100) == (0.0, "")
    clock.now += 1
    assert pace.measure(110, 1100) == (10.0, ""), "1 % is too early to tell"
    clock.now += 9
    assert pace.measure(200, 1100) == (10.0, "90 s left")
    clock.now += 10
    assert pace.measure(0, 500) == (0.0, ""), "another task begins"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (1500, "25 min"), (9000, "2 h 30 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_without_a_terminal_a_line_is_printed_every_ten_seconds(clock, capsys):
    with console.progress("Extracting") as report:
        for done in range(0, 101):
            report(done, 100, "tiny")
            clock.now += 0.5
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Extracting: 20 of 100 (2.0/s, 40 s left) tiny"
    assert [line.split()[1] for line in lines] == ["20", "40", "60", "80", "100"]


def test_what_knows_better_tells_the_time_left_itself(clock, capsys):
    with console.progress("Study", timed=False) as report:
        clock.now += 11
        report(3, 50, "train idc; about 4 min left")
    assert capsys.readouterr().err == "Study: 3 of 50 train idc; about 4 min left\n"


def test_quiet_prints_no_progress_and_no_notes(clock, capsys):
    console.state.quiet = True
    with console.progress("Extracting") as report:
        report(0, 2)
        clock.now += 60
        report(1, 2)
    console.note("something")
    console.aside(["a"], [[1]])
    console.warn("careful")
    assert capsys.readouterr().err == "warning: careful\n"


def test_a_bar_on_a_terminal(clock, monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    with console.progress("Extracting") as report:
        report(0, 100)
        assert shown.getvalue() == "", "not in the first two seconds"
        clock.now += 5
        report(50, 100, "tiny")
    assert "Extracting" in shown.getvalue()
    assert "50/100" in shown.getvalue()


def test_a_table_has_its_title_above_and_no_empty_line_within(capsys):
    console.table(["address", "accuracy", "note"], [["a/b", 0.51239, None], ["c/d", 1.0, "x"]], None, title="A title")
    assert capsys.readouterr().out.splitlines() == [
        "A title",
        " address  accuracy  note",
        " ───────────────────────",
        " a/b        0.5124  –",
        " c/d        1.0000  x",
        "",
    ]


def test_a_long_title_is_broken_and_a_long_cell_moves_on_a_narrow_terminal(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stdout", shown)
    monkeypatch.setenv("COLUMNS", "60")
    title = "a title that is longer than the terminal is wide, and goes on in the next line"
    address = "timm:mobilenetv2_100,pad_type=same/blocks.6.0+resnet50/layer4.2"
    console.table(["run", "address", "accuracy"], [["0123456789ab", address, 0.5]], None, title=title)
    assert shown.getvalue().splitlines() == [
        "a title that is longer than the terminal is wide, and goes",
        "on in the next line",
        " run           accuracy",
        " ──────────────────────",
        " 0123456789ab    0.5000",
        "   address:",
        address,
        "",
    ]


def test_an_empty_table_says_what_to_do(capsys):
    console.table(["run"], [], {"runs": []}, empty="No runs yet.")
    printed = capsys.readouterr()
    assert (printed.out.split()[0], printed.err) == ("run", "No runs yet.\n")
    console.state.json = True
    console.table(["run"], [], {"runs": []}, empty="No runs yet.")
    assert capsys.readouterr().out == '{\n  "runs": []\n}\n'


@pytest.mark.parametrize("count", [0, 1, 2, 1000, 1001, 2500])
def test_long_lists_of_a_document_are_printed_row_by_row(capsys, count):
    rows = [{"number": number, "text": 'a\n  "rows": []', "none": [], "é": {"x": [0.1]}} for number in range(count)]
    document = {"before": ['\n  "rows": []', {"rows": []}], "rows": [], "after": {"rows": []}}
    console.print_json(document, {"rows": iter(rows)})
    assert capsys.readouterr().out == json.dumps({**document, "rows": rows}, ensure_ascii=False, indent=2) + "\n"
