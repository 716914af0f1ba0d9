"""A study that is killed on the way, and run again, ends as one that nothing disturbed."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

import histokit
from histokit.features import FeatureStore
from histokit.store.verify import verify
from tests.durability.processes import Processes
from tests.durability.stores import check_same, tables
from tests.study.small_study import FILE, TRAINING, write_study

#: The small study of one classifier, by all strategies: 28 pieces, of each kind several.
ONE_CLASSIFIER = FILE.replace('["svm", "knn"]', '["svm"]').replace("[classifier.knn.grid]\nk = 3\n", "")

#: What takes time, or says when something was done.
_OF_TIME = ("seconds", "created", "versions", "final_seconds")


def timeless(value: Any) -> Any:
    """Return a document without what differs from time to time."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in _OF_TIME}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def holds(store: FeatureStore) -> dict[str, Any]:
    """Return what a study left in a store, but for its feature tables."""
    runs = store.runs()
    order = [("repeat", "ascending"), ("fold", "ascending"), ("id", "ascending")]
    return {
        "runs": {run.id: timeless(run.to_json()) for run in runs},
        "selections": {selection.id: timeless(selection.to_json()) for selection in store.selections()},
        "predictions": {run.id: store.predictions(run.id).sort_by(order).to_pylist() for run in runs},
        "curves": {run.id: timeless(store.curves(run.id).to_pylist()) for run in runs if run.curve_digests},
        "splits": {name: [split.digest for split in store.splits(name)] for name in ("cells", "more")},
    }


def kill_and_compare(processes: Processes, folder: Path, kills: int, rounds: int, text: str) -> int:
    """Do a study undisturbed; then, some times over, one that is killed on the way and run again.

    Returns
    -------
    int
        The number of its pieces.
    """
    file = write_study(folder, text)
    command = ["study", "run", str(file), "--json", "--store"]
    started = time.monotonic()
    undisturbed = processes.run(*command, folder / "whole").document
    seconds = time.monotonic() - started
    whole = histokit.open_store(folder / "whole")
    expected = holds(whole)
    moments = random.Random(7)
    cached = 0
    for number in range(rounds):
        place = folder / f"killed{number}"
        for _ in range(kills):
            life = processes.start(*command, place)
            time.sleep(moments.uniform(0.1, 1.0) * seconds / (kills + 0.5))
            life.kill()
            assert life.wait() == -9, life.err
        result = processes.run(*command, place).document
        states = [piece["state"] for piece in result["pieces"]]
        assert set(states) <= {"cached", "done"}
        cached += states.count("cached")
        assert timeless(result["comparison"]) == timeless(undisturbed["comparison"])
        store = histokit.open_store(place)
        assert holds(store) == expected
        check_same(tables(store), tables(whole))
        assert verify(store).findings == ()
    # A test whose kills all came before anything was done would prove nothing.
    assert cached > 0
    return len(undisturbed["pieces"])


def test_killed_twice(forks: Processes, tmp_path: Path) -> None:
    assert kill_and_compare(forks, tmp_path, kills=2, rounds=1, text=ONE_CLASSIFIER) == 28


@pytest.mark.slow
def test_killed_twice_again_and_again(fresh: Processes, tmp_path: Path) -> None:
    assert kill_and_compare(fresh, tmp_path, kills=2, rounds=8, text=FILE.replace('backbones = ["tiny"]\n', "")) == 50


#: Only its networks are trained, by one preset.
ONLY = TRAINING.replace('["last layer", ', "[").replace('[strategy."last layer"]\nbackbones = ["tiny"]\n', "")
ONLY = ONLY.replace("[strategy.fine-tuning.presets.head-first]\nset.stages.2.epochs = 3\n", "")


def test_killed_in_training(forks: Processes, tmp_path: Path) -> None:
    file = write_study(tmp_path, ONLY)
    command = ["study", "run", str(file), "--json", "--store"]
    counted = tmp_path / "moments"
    life = forks.start(*command, tmp_path / "whole", moments={"count": str(counted)})
    assert life.wait() == 0, life.err
    # Among the checkpoints, parts and runs of the networks, which are the last third of all writes.
    for number in (2 * counted.stat().st_size // 3, 3, 6):
        moments = {"count": str(tmp_path / f"moments{number}"), "kill": number}
        killed = forks.start(*command, tmp_path / "killed", moments=moments)
        assert killed.wait() == -9, killed.err
    unfinished = [*(tmp_path / "killed").glob("networks/unfinished/*")]
    assert unfinished, "it was killed in training"
    done = forks.run(*command, tmp_path / "killed").document
    assert timeless(done["comparison"]) == timeless(life.document["comparison"])
    whole, store = (histokit.open_store(tmp_path / name) for name in ("whole", "killed"))
    assert holds(store) == holds(whole)
    assert verify(store).findings == ()


@pytest.mark.slow
def test_killed_in_training_again_and_again(fresh: Processes, tmp_path: Path) -> None:
    text = TRAINING.replace("from_scratch = false", "from_scratch = [false, true]")
    text = text.replace("presets.head-first]", "presets.head-first]\nfrom_scratch = false")
    assert kill_and_compare(fresh, tmp_path, kills=2, rounds=8, text=text) == 14


def test_two_processes_share_the_networks_of_a_study(forks: Processes, tmp_path: Path) -> None:
    file = write_study(tmp_path, ONLY)
    command = ["study", "run", str(file), "--json", "--store"]
    alone = forks.run(*command, tmp_path / "alone").document
    lives = [forks.start(*command, tmp_path / "shared") for _ in range(2)]
    assert [life.wait() for life in lives] == [0, 0], [life.err for life in lives]
    for life in lives:
        assert {piece["state"] for piece in life.document["pieces"]} <= {"done", "cached"}
        assert timeless(life.document["comparison"]) == timeless(alone["comparison"])
    shared = histokit.open_store(tmp_path / "shared")
    assert holds(shared) == holds(histokit.open_store(tmp_path / "alone"))
    assert verify(shared).findings == ()
