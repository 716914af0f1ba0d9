"""Runs in TensorBoard: what was asked for beside the scores, and the learning curves of every fold."""

from __future__ import annotations

import os

from histokit.plugin import FinishedRun, hookimpl

#: The environment variable that names the folder of event files; nothing is written where it is not set.
FOLDER = "HISTOKIT_TENSORBOARD"


@hookimpl
def on_run_finished(run: FinishedRun) -> None:
    """Write event files of a run, where a folder for them is named and the run has scores."""
    folder = os.environ.get(FOLDER)
    if folder and run.folds:
        from histokit_tensorboard.events import write_run

        write_run(run, folder)
