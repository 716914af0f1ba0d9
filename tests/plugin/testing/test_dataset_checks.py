from __future__ import annotations

import importlib
import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from histokit.errors import UsageError
from histokit.plugin import Dataset, PublishedSplit, Sample, SplitRow
from histokit.plugin.testing import CheckFailure, check_dataset, iter_dataset_checks, run_checks
from histokit.plugin.testing.datasets import CLAUSES

LETTERS = "abcdefgh"

#: The clauses that a class inside a function cannot break.
ELSEWHERE = "other processes read the same"
LISTED = "other processes list the same"


class Sound(Dataset):
    """Keeps the whole contract; each test breaks one clause of it."""

    name = "sound"
    classes = ("0", "1")
    positive = "1"
    columns: Mapping[str, type] = {"slide": str, "age": int, "score": float, "fresh": bool}
    group = "slide"
    levels = ("slide",)

    def __init__(self, root: str | Path, gain: int = 1, title: str = "x"):
        super().__init__(root)
        self.gain = gain

    def samples(self):
        for number, letter in enumerate(LETTERS):
            metadata = {"slide": "s" + letter, "age": number, "score": 0.5, "fresh": True}
            label = str(number % 2)
            yield Sample(letter, (f"{letter}.png",), box=(0, 0, 4, 4), label=label, mpp=0.5, metadata=metadata)

    def read(self, sample):
        return super().read(sample) // self.gain

    def splits(self):
        return {"paper": PublishedSplit.holdout(LETTERS[:6], LETTERS[6:], group="slide")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for letter in LETTERS:
        Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(tmp_path / f"{letter}.png")
    return tmp_path


def changed(**changes):
    """Return the sound plugin with the last sample changed."""

    class Changed(Sound):
        def samples(self):
            *most, last = super().samples()
            yield from most
            values = {name: change(last) if callable(change) else change for name, change in changes.items()}
            yield replace(last, **values)

    return Changed


def with_metadata(**values):
    return changed(metadata=lambda sample: {**sample.metadata, **values})


def unlike(classes, positive, **changes):
    """Return a plugin with a last sample of another class."""
    return type("Changed", (changed(**changes),), {"classes": classes, "positive": positive})


def attributes(**values):
    return type("Changed", (Sound,), values)


def splitting(*rows, **options):
    return attributes(splits=lambda self: {"paper": PublishedSplit([SplitRow(*row) for row in rows], **options)})


class Eager(Sound):
    def __init__(self, root, gain: int = 1):
        super().__init__(root, gain)
        self.files = list(Path(root).iterdir())


class Unannotated(Sound):
    def __init__(self, root, gain=1):
        super().__init__(root, gain)


class Unserialisable(Sound):
    pixel_options = ("gain",)

    def __init__(self, root, gain: int = 1, shade: object = frozenset()):
        super().__init__(root, gain)


class Counting(Sound):
    """Names samples by a counter that lives as long as the process."""

    counter = count()

    def samples(self):
        self.ids = getattr(self, "ids", None) or [str(next(self.counter)) for _ in LETTERS]
        for sample, name in zip(super().samples(), self.ids, strict=True):
            yield replace(sample, id=name)

    def splits(self):
        return {}


class Shuffling(Sound):
    """Yields another order at each call of one instance."""

    calls = 0

    def samples(self):
        self.calls += 1
        samples = list(super().samples())
        yield from samples if self.calls % 2 else reversed(samples)


class Rooted(Sound):
    def samples(self):
        for sample in super().samples():
            yield replace(sample, id=str(self.root.resolve() / sample.id))

    def splits(self):
        return {}


class Absolute(Sound):
    def samples(self):
        for sample in super().samples():
            yield replace(sample, image=(str(self.root.resolve() / sample.image[0]),))


class Random(Sound):
    def read(self, sample):
        return np.random.default_rng().integers(0, 256, (4, 4, 3), dtype=np.uint8)


class Progressive(Sound):
    """Gives pixels that depend on what was read before."""

    seen = 0

    def read(self, sample):
        self.seen += 1
        return super().read(sample) // (1 + self.seen % 2)


class TwelveBits(Sound):
    bits = 12

    def read(self, sample):
        return np.full((4, 4, 3), 4096, np.uint16)


class Sought(Sound):
    """Reads from one open file, whose place another thread may move."""

    place = 0

    def read(self, sample):
        self.place = ord(sample.id)
        return np.full((4, 4, 3), self.place, np.uint8)


class TwoForms(Sound):
    """Writes a slide once with a letter, and once with a letter and its accent."""

    def samples(self):
        for number, sample in enumerate(super().samples()):
            slide = ("\xe9", "e\u0301")[number > 0] if number in (0, 7) else sample.metadata["slide"]
            yield replace(sample, metadata={**sample.metadata, "slide": slide})


class Welled(Sound):
    """Has a level that is not the group, and writes one value of it in two ways."""

    columns: Mapping[str, type] = {**Sound.columns, "well": str}
    levels = ("slide", "well")

    def samples(self):
        for number, sample in enumerate(super().samples()):
            yield replace(sample, metadata={**sample.metadata, "well": "A1 "[: 3 if number == 7 else 2]})


class DrawingOnce(Sound):
    """Draws the samples of the test set anew for each instance."""

    made = count()

    def __init__(self, root, gain: int = 1):
        super().__init__(root, gain)
        self.test = LETTERS[next(self.made) % len(LETTERS)]

    def splits(self):
        return {"paper": PublishedSplit.holdout([letter for letter in LETTERS if letter != self.test], self.test)}


class Drawing(Sound):
    draws = count()

    def splits(self):
        """Draw the samples of the test set anew at each call."""
        test = LETTERS[next(self.draws) % len(LETTERS)]
        return {"paper": PublishedSplit.holdout([letter for letter in LETTERS if letter != test], test)}


class RandomKey(Sound):
    def pixel_key(self, sample):
        return np.random.default_rng().bytes(8)


class RandomPart(Sound):
    def part_digest(self, sample):
        return np.random.default_rng().bytes(16)


class FixedKey(Sound):
    """Forgets the option that alters pixels."""

    pixel_options = ("title",)


def of_a_share(share):
    if share > 1:
        raise ValueError(f"{share} is more than all")
    return 1 if share == 0.9 else 2


def forgetting(kind, default, shade):
    """Return a plugin with an option that alters pixels and that its keys forget."""

    class Forgetting(Sound):
        pixel_options = ()

        def __init__(self, root, how=default):
            super().__init__(root)
            self.how, self.shade = how, shade(how)

        __init__.__annotations__["how"] = kind

        def read(self, sample):
            return super().read(sample) // self.shade

    return Forgetting


class Drawn(Sound):
    """Has no files, and forgets to tell samples apart."""

    def samples(self):
        for sample in super().samples():
            yield replace(sample, image=())

    def read(self, sample):
        return np.full((4, 4, 3), ord(sample.id) * self.gain % 256, dtype=np.uint8)


def unreadable(pixels):
    return attributes(read=lambda self, sample: pixels)


GROUPED = [(0, 0, "a", "train"), (0, 0, "b", "test")]
BROKEN = [
    ("lazy constructor", Eager, "where the root does not exist"),
    ("options as texts", Unannotated, "'gain' has no annotation"),
    ("options as texts", Unserialisable, "not JSON serializable"),
    ("samples exist", attributes(samples=lambda self: iter(())), "yields nothing"),
    ("samples exist", attributes(samples=lambda self: iter([{"id": "a"}])), "not a Sample"),
    ("samples exist", changed(image="h.png"), "not a tuple"),
    ("samples exist", changed(part=0), "the part of 'h' is 0"),
    ("unique ids", changed(id="a"), "'a' comes twice"),
    ("unique ids", changed(id=""), "or empty"),
    ("unique ids", changed(id=7), "the id 7"),
    ("stable ids", Counting, "a second instance"),
    ("stable ids", Rooted, "contains the root"),
    ("two passes identical", Shuffling, "then Sample"),
    ("column names", attributes(columns={**Sound.columns, "image": str}), "'image'"),
    ("column types", with_metadata(age="7"), "age='7', declared as int"),
    ("column types", with_metadata(age=True), "age=True"),
    ("column types", with_metadata(age=np.int64(7)), "declared as int"),
    ("column types", with_metadata(colour="red"), "differ in colour"),
    ("column types", changed(metadata={"slide": "s"}), "differ in age, fresh, score"),
    ("column types", attributes(columns={**Sound.columns, "score": list}), "declared as <class 'list'>"),
    ("group and levels", attributes(group="patient"), "the group 'patient'"),
    ("group and levels", attributes(levels=("slide", "well")), "the level 'well'"),
    ("group and levels", with_metadata(slide=None), "has no slide"),
    ("known labels", changed(label="2"), "unknown label '2'"),
    ("known labels", changed(label=1), "label 1"),
    ("known labels", unlike(classes=None, positive=None, label=""), "label ''"),
    ("known labels", attributes(classes=("0", "1", "1")), "one twice"),
    ("positive class", attributes(positive="tumour"), "'tumour'"),
    ("positive class", attributes(classes=("0", "1", "2")), "two classes"),
    ("boxes and scale", changed(box=(0, 0, 2.0, 4)), "not four ints"),
    ("boxes and scale", changed(box=(0, 0, 4)), "not four ints"),
    ("boxes and scale", changed(box=(0, 0, 0, 4)), "empty"),
    ("boxes and scale", changed(box=(0, 0, 4, 0)), "empty"),
    ("boxes and scale", changed(mpp=-0.5), "mpp=-0.5"),
    ("boxes and scale", changed(mpp=0.0), "mpp=0.0"),
    ("boxes and scale", changed(mpp=float("inf")), "mpp=inf"),
    ("relative images", changed(image=("gone.png",)), "does not exist"),
    ("relative images", changed(image=("h.png", "gone.png")), "'gone.png' of 'h' does not exist"),
    ("relative images", changed(image=("x\\h.png",)), "backslashes"),
    ("relative images", Absolute, "not relative"),
    ("relative images", changed(image=("../x/h.png",)), "leads out of the root"),
    ("fitted state", attributes(fit=lambda self: {1: 2}), "the key 1, which JSON makes the text '1'"),
    ("fitted state", attributes(fit=lambda self: {"a": np.ones(1)}), "not JSON serializable"),
    ("declared attributes", attributes(bits=20), "20 in place of a whole number of 8 to 16"),
    ("declared attributes", attributes(scale="minmx"), "'minmx' is none of"),
    ("names told apart", changed(id="a "), r"ids 'a' and 'a ' differ in blanks"),
    ("names told apart", with_metadata(slide="sa "), r"slides 'sa' and 'sa ' differ in blanks"),
    ("names told apart", Welled, r"wells 'A1' and 'A1 ' differ in blanks"),
    ("names told apart", TwoForms, r"slides '\\xe9' and 'e\\u0301' differ in blanks or in the form of a letter"),
    ("names told apart", unlike(classes=None, positive=None, label="nan"), "'nan' is what a value that is missing"),
    ("readable images", unreadable(None), "NoneType"),
    ("readable images", unreadable(np.zeros((4, 4, 3))), "float64"),
    ("readable images", unreadable(np.zeros((4, 4), dtype=np.uint8)), r"\(4, 4\)"),
    ("readable images", unreadable(np.zeros((0, 4, 3), dtype=np.uint8)), "no pixels"),
    ("readable images", unreadable(np.zeros((4, 4, 1), dtype=np.uint8)), "1 channels, not 3"),
    ("readable images", TwelveBits, "4096, more than the 12 bits"),
    ("readable images", attributes(channels=("R", "G")), r"3 channels \(R, G, B\), not 2"),
    ("pixels repeat", Random, "other pixels"),
    ("pixels repeat", Progressive, "other pixels"),
    ("threads read the same", Sought, "other pixels where 4 threads read.*hold a lock"),
    ("pixel key repeats", RandomKey, "differs between"),
    ("pixel key repeats", attributes(pixel_key=lambda self, sample: "x"), "str instead of bytes"),
    ("pixel key repeats", Drawn, "'a' and 'b' have no file"),
    ("part digest repeats", attributes(part_digest=lambda self, sample: b"x"), "which is not 16 bytes"),
    ("part digest repeats", RandomPart, "differs between two instances"),
    ("pixel key moves", FixedKey, "'gain' changes the pixels"),
    ("pixel key moves", attributes(pixel_options=("gian",)), "'gian'"),
    ("pixel key moves", forgetting(bool, False, lambda how: 1 + how), "'how' changes the pixels"),
    ("pixel key moves", forgetting(float, 2.0, int), "'how' changes the pixels"),
    ("pixel key moves", forgetting(float, 0.0, lambda how: 2 if how else 1), "'how' changes the pixels"),
    ("pixel key moves", forgetting(float, 0.9, of_a_share), "'how' changes the pixels"),
    ("pixel key moves", forgetting(int, 0, lambda how: 2 if how else 1), "'how' changes the pixels"),
    ("pixel key moves", forgetting(Literal["a", "b"], "a", lambda how: 1 + (how == "b")), "'how' changes the pixels"),
    ("split rows", splitting(*GROUPED, (0, 0, "z", "train")), "'z'"),
    ("split rows", splitting(*GROUPED, (0, 0, "c", "dev")), "role 'dev'"),
    ("split rows", splitting(*GROUPED, (0, 0, "a", "train")), "'a' twice in fold 0 of repeat 0"),
    ("split rows", attributes(splits=lambda self: {"paper": GROUPED}), "is a list"),
    ("splits repeat", DrawingOnce, "other rows from another instance in 'paper': draw by a seed"),
    ("splits repeat", Drawing, "other rows a second time in 'paper': draw by a seed"),
    ("splits have train and test", splitting(*GROUPED, (0, 1, "a", "train")), "fold 1 of repeat 0 .* no test"),
    ("splits have train and test", splitting(*GROUPED, (1, 0, "a", "train")), "fold 0 of repeat 1 .* no test"),
    ("splits have train and test", splitting(*GROUPED, (0, 1, "a", "test")), "fold 1 of repeat 0 .* no train"),
    ("splits have train and test", splitting(), "is empty"),
    ("groups within splits", splitting(*GROUPED, group="fresh"), "fresh True is in the test set"),
]


def outcome(cls, root, **options) -> dict[str, str]:
    results = run_checks(iter_dataset_checks(cls, root, **options))
    return {result.name: result.reason for result in results if not result.passed}


def test_a_sound_plugin_passes_every_check(root):
    results = check_dataset(Sound, root, gain="2")
    assert len(results) == len(CLAUSES)
    assert outcome(Sound, root) == {}


@pytest.mark.parametrize(("name", "cls", "reason"), BROKEN, ids=[f"{name}: {reason}" for name, _, reason in BROKEN])
def test_each_check_fails_when_its_clause_is_broken(root, name, cls, reason):
    reasons = outcome(cls, root)
    assert name in reasons
    assert re.search(reason, reasons[name])


def test_every_clause_is_broken_by_some_test():
    names = {check.name for check in iter_dataset_checks(Sound)}
    assert names - {name for name, _, _ in BROKEN} == {ELSEWHERE, LISTED, "pixels differ"}


def test_pixels_that_are_all_the_same_are_advised(root):
    same = attributes(read=lambda self, sample: np.zeros((4, 4, 3), np.uint8))
    (result,) = [r for r in run_checks(iter_dataset_checks(same, root)) if r.name == "pixels differ"]
    assert result.passed
    assert result.reason == "advised: see why all 8 samples that were looked at have the same pixels"


def test_rows_that_can_be_gone_through_once_are_looked_at_by_all_clauses(root):
    rows = [SplitRow(0, 0, letter, "test" if letter == "h" else "train") for letter in LETTERS]
    once = attributes(splits=lambda self: {"paper": PublishedSplit(iter(rows), group="fresh")})
    assert list(outcome(once, root)) == ["groups within splits"]


def test_one_sample_alone_has_pixels_of_its_own(root):
    class One(Sound):
        def samples(self):
            yield next(super().samples())

    (result,) = [r for r in run_checks(iter_dataset_checks(One, root)) if r.name == "pixels differ"]
    assert (result.passed, result.reason) == (True, "")


def test_what_keeps_the_contract_in_another_way(root):
    class Tiled(Sound):
        """Has no files, and boxes that an option moves; its keys know of none of them, and need not."""

        pixel_options = ()

        def __init__(self, root, left: int = 0):
            super().__init__(root)
            self.left = left

        def samples(self):
            for number, sample in enumerate(super().samples()):
                yield replace(sample, image=(), box=(self.left + number, 0, 4, 4))

        def pixel_key(self, sample):
            return b""

        def read(self, sample):
            return np.full((4, 4, 3), sample.box[0], np.uint8)

    assert outcome(Tiled, root) == {}
    assert outcome(attributes(classes=None), root) == {}, "the positive class is one of those that samples have"


def test_numbers_that_are_none_are_the_same_again(root):
    assert outcome(with_metadata(score=float("nan")), root) == {}


class TestGroupsWithinSplits:
    class OneSlide(Sound):
        """Has all samples from one slide."""

        def samples(self):
            for sample in super().samples():
                yield replace(sample, metadata={**sample.metadata, "slide": "s"})

    def test_a_group_on_both_sides(self, root):
        assert outcome(self.OneSlide, root) == {
            "groups within splits": "slide 's' is in the test set of the split 'paper' and outside it"
        }

    @pytest.mark.parametrize("leaks", ["Slides are on both sides.", " "])
    def test_a_split_may_leak_if_it_says_what(self, root, leaks):
        split = PublishedSplit.holdout(LETTERS[:6], LETTERS[6:], leaks=leaks)
        cls = type("Leaking", (self.OneSlide,), {"splits": lambda self: {"paper": split}})
        failed = outcome(cls, root)
        assert list(failed) == ([] if leaks.strip() else ["groups within splits"])

    @pytest.mark.parametrize("other", [(0, 1), (1, 0)])
    def test_folds_are_looked_at_one_by_one(self, root, other):
        rows = [(0, 0, "a", "train"), (0, 0, "b", "test"), (*other, "b", "train"), (*other, "a", "test")]
        assert outcome(splitting(*rows), root) == {}

    @pytest.mark.parametrize(("role", "right"), [("train", True), ("test", False)])
    def test_validation_samples_may_be_of_groups_that_are_trained_on_and_of_none_that_is_tested(
        self, root, role, right
    ):
        # All but the last two are of one slide.
        class Two(Sound):
            def samples(self):
                for number, sample in enumerate(super().samples()):
                    yield replace(sample, metadata={**sample.metadata, "slide": f"s{number > 5}"})

        others = {"train": "test", "test": "train"}
        rows = [(0, 0, "a", role), (0, 0, "b", "val"), (0, 0, "h", others[role])]
        cls = type("Validated", (Two,), {"splits": lambda self: {"p": PublishedSplit([SplitRow(*r) for r in rows])}})
        assert list(outcome(cls, root)) == ([] if right else ["groups within splits"])


def test_failures_are_raised_together(root):
    with pytest.raises(CheckFailure) as caught:
        check_dataset(attributes(group="patient", positive="tumour"), root)
    assert "positive class: " in str(caught.value)
    assert "group and levels: " in str(caught.value)


def test_samples_that_fail_are_explained_once(tmp_path):
    from histokit.datasets.folder import Folder

    reasons = outcome(Folder, tmp_path / "nowhere")
    assert "does not exist" in reasons["samples exist"]
    assert {reason for name, reason in reasons.items() if name != "samples exist"} == {
        "not checked, for samples() fails"
    }


def test_an_instance_is_checked_with_its_options_and_root(root):
    results = check_dataset(Sound(root, gain=3))
    assert all(result.passed for result in results)
    with pytest.raises(CheckFailure):
        check_dataset(FixedKey(root, gain=3))


def test_wrong_options_are_the_caller_s_mistake(root):
    with pytest.raises(UsageError, match="no option 'gian'"):
        check_dataset(Sound, root, gian="1")


def test_nothing_is_touched_before_a_check_runs():
    checks = list(iter_dataset_checks(Sound, "/nowhere"))
    assert len({check.name for check in checks}) == len(checks) == len(CLAUSES)
    assert all(check.description.endswith(".") for check in checks)


def test_a_fitted_state_reaches_the_reader(root):
    class Fitted(Sound):
        def fit(self):
            return {"offset": 3}

        def read(self, sample):
            return super().read(sample) // 2 + self.state["offset"]

    check_dataset(Fitted, root)


OF_PROCESSES = """
import os
import time
import numpy as np
from histokit.plugin import Dataset, Sample

class Steady(Dataset):
    classes = ()
    pid = {pid}

    def samples(self):
        yield Sample("a", ())

    def pixel_key(self, sample):
        return b"a"

    def read(self, sample):
        print("reading")
        return np.full((2, 2, 3), self.value(), np.uint8)

    def value(self):
        return 1

class Locked(Steady):
    def value(self):
        if os.getpid() != self.pid:
            raise OSError("locked")
        return 1

class Differing(Steady):
    def value(self):
        return int(os.getpid() == self.pid)

class Ordered(Steady):
    def samples(self):
        for name in {"a", "b", "c", "d", "e", "f", "g", "h"}:
            yield Sample(name, ())

    def pixel_key(self, sample):
        return sample.id.encode()

class Hashed(Steady):
    def samples(self):
        yield Sample(f"{hash('a'):x}", ())

class Labelled(Ordered):
    classes = None

    def samples(self):
        for name, label in zip("abcdefgh", {"s", "t", "u", "v", "w", "x", "y", "z"}):
            yield Sample(name, (), label=label)

class Classified(Ordered):
    classes = tuple({"s", "t", "u", "v", "w", "x", "y", "z"})

    def samples(self):
        yield Sample("a", ())

class Keyed(Steady):
    def pixel_key(self, sample):
        return str(hash("a")).encode()

class Ending(Steady):
    def value(self):
        if os.getpid() != self.pid:
            os._exit(3)
        return 1

class Vanishing(Steady):
    def value(self):
        if os.getpid() != self.pid:
            os._exit(0)
        return 1

class Leaving(Steady):
    def value(self):
        if os.getpid() != self.pid:
            raise SystemExit("it has seen enough")
        return 1

class Crashing(Steady):
    def value(self):
        if os.getpid() != self.pid:
            os.kill(os.getpid(), 11)
        return 1

class Starting(Steady):
    def value(self):
        if os.getpid() != self.pid and not (child := os.fork()):
            time.sleep(1000)
        if os.getpid() != self.pid:
            with open(self.root / "children", "a") as children:
                children.write(f"{child} ")
        return 1
"""


def test_another_process_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "of_processes.py").write_text(OF_PROCESSES.replace("{pid}", str(os.getpid())))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("of_processes")

    def failure(name: str) -> dict[str, str]:
        results = run_checks(iter_dataset_checks(getattr(module, name), tmp_path))
        return {result.name: result.reason for result in results if not result.passed}

    assert failure("Steady") == {}
    assert "locked" in failure("Locked")[ELSEWHERE]
    assert "other pixels in another process" in failure("Differing")[ELSEWHERE]
    assert "exit code 3" in failure("Ending")[ELSEWHERE]
    assert "it ends without an answer (exit code 0)" in failure("Vanishing")[ELSEWHERE]
    assert "it has seen enough" in failure("Leaving")[ELSEWHERE]
    assert "SIGSEGV" in failure("Crashing")[ELSEWHERE]
    # Processes that a plugin leaves behind are not waited for.
    try:
        assert failure("Starting") == {}
    finally:
        for child in (tmp_path / "children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
    assert "the same ids in another order" in failure("Ordered")[LISTED]
    assert "lists other ids" in failure("Hashed")[LISTED]
    assert re.match(r"'[a-h]' is '[s-z]' here and '[s-z]' in another process", failure("Labelled")[LISTED])
    assert "`classes` is" in failure("Classified")[LISTED]
    assert "pixel_key or part_digest" in failure("Keyed")[LISTED]
    del sys.modules["of_processes"]
