"""MLflow: a search as a run, with a nested run for each of its trials."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from autotune.errors import StorageError
from autotune.integrations.runs import BAD, Found, Run, Verdict, trials, verdict
from autotune.studies import urls

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["log"]

KEY = "autotune.key"  # tag that tells a run from others
PARENT = "mlflow.parentRunId"
MOST = 1000  # metrics in one call, by MLflow's own limit
LONGEST = 5000  # characters of a tag's value, likewise
FOUND = 50_000  # runs that one question brings, likewise


def log(found: Found, *, experiment: str = "autotune", tracking_uri: str | None = None) -> str:
    """Write a search and its trials that ended to MLflow; called again, it adds what is new.

    MLflow's telemetry is turned off, unless the process has imported MLflow before.

    Args:
        found: What ``autotune.tune`` or ``autotune.load`` returned.
        experiment: Name of the experiment, which is made if it is not there.
        tracking_uri: Of the server, file or database; None is MLflow's own choice
            (``MLFLOW_TRACKING_URI``). A password in it is not printed.

    Returns:
        Id of the search's run.

    Raises:
        StorageError: MLflow cannot write there.

    Example:
        >>> import autotune
        >>> from autotune.integrations.mlflow import log
        >>> log(autotune.load("vit"), tracking_uri="sqlite:///mlflow.db")  # doctest: +SKIP
        '8d6a4c0b7f3e4bb1a1c1f0f5f3a1c2d4'
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read at the import
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = tracking_uri or mlflow.get_tracking_uri()
    try:
        return _Log(mlflow.MlflowClient(tracking_uri=uri), experiment).search(found)
    except (MlflowException, OSError) as error:
        said = str(error).replace(uri, urls.mask(uri))
        raise StorageError(f"MLflow at {urls.mask(uri)}: {said}") from None


class _Log:
    """An experiment of MLflow, as far as searches are written to it."""

    def __init__(self, client: MlflowClient, experiment: str) -> None:
        self._client = client
        there = client.get_experiment_by_name(experiment)
        self._experiment = there.experiment_id if there else client.create_experiment(experiment)

    def search(self, found: Found) -> str:
        """Write a search with its trials; return its run."""
        whole = verdict(found)
        known = self._runs(f"tags.`{KEY}` = '{whole.key}'")
        run = known[whole.key][0] if known else self._begin(whole.key, whole.name, {})
        written = self._runs(f"tags.`{PARENT}` = '{run}'")
        for trial in trials(found):
            before = written.get(trial.key)
            if trial.ended is None or (before and before[1] == _milliseconds(trial.ended)):
                continue
            if before:  # its writing was cut short, or it went on since
                self._client.delete_run(before[0])
            self._trial(trial, run)
        self._verdict(whole, run)
        return run

    def _runs(self, question: str) -> dict[str, tuple[str, int | None]]:
        """Return the id of runs, and when they ended if they did, by key."""
        found = self._client.search_runs([self._experiment], question, max_results=FOUND)
        return {
            run.data.tags[KEY]: (
                run.info.run_id,
                None if run.info.status == "RUNNING" else run.info.end_time,
            )
            for run in found
        }

    def _begin(
        self, key: str, name: str, tags: Mapping[str, str], began: datetime | None = None
    ) -> str:
        made = self._client.create_run(
            self._experiment,
            start_time=None if began is None else _milliseconds(began),
            run_name=name,
            tags={KEY: key, **{tag: text[:LONGEST] for tag, text in tags.items()}},
        )
        return str(made.info.run_id)

    def _trial(self, trial: Run, parent: str) -> None:
        tags = {PARENT: parent, "stage": trial.stage, "state": trial.state.value, **trial.told}
        run = self._begin(trial.key, trial.name, tags, trial.began)
        self._params(run, trial.params)
        when = _milliseconds(trial.ended or trial.began or datetime.now(UTC))
        self._metrics(run, [(n, v, step, when) for step, m in trial.points for n, v in m.items()])
        status = "FAILED" if trial.state in BAD else "FINISHED"
        self._client.set_terminated(run, status, when)

    def _verdict(self, whole: Verdict, run: str) -> None:
        self._params(run, whole.params)
        when = _milliseconds(datetime.now(UTC))
        self._metrics(run, [(name, value, 0, when) for name, value in whole.numbers.items()])
        for number, sentence in enumerate(whole.sentences, 1):
            self._client.set_tag(run, f"verdict {number:02}", sentence[:LONGEST])
        self._client.set_terminated(run, "FINISHED" if whole.complete else "RUNNING")

    def _params(self, run: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(run, params=[Param(n, str(value)) for n, value in params.items()])

    def _metrics(self, run: str, points: Sequence[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        for place in range(0, len(points), MOST):
            some = points[place : place + MOST]
            rows = [Metric(name, value, when, step) for name, value, step, when in some]
            self._client.log_batch(run, metrics=rows)


def _milliseconds(when: datetime) -> int:
    return round(when.timestamp() * 1000)
