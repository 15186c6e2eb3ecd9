"""What MLflow and W&B themselves read of a search that was logged to them."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from autotune.api.tune import load
from autotune.errors import StorageError
from autotune.integrations.runs import trials, verdict
from autotune.studies.records import TrialState
from autotune.testing.sample import NAME, OPTIMIZERS, make

BIG = 1 << 15  # bytes of a block of W&B's file


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('trackers')}/sample.db"
    make(url, landscapes={"adamw": OPTIMIZERS["adamw"]})
    return load(NAME, storage=url)


class Few:
    """A search of which a few trials are told: writing each takes a tracker a while."""

    def __init__(self, found, *numbers):
        self.comparison, self._found, self.numbers = found.comparison, found, numbers

    def records(self):
        for optimizer, trial, curve in self._found.records():
            if trial.number in self.numbers:
                yield optimizer, trial, curve


def with_task(found, **facts):
    few = Few(found, 1)
    search = replace(found.comparison.search, task={**found.comparison.search.task, **facts})
    few.comparison = replace(found.comparison, search=search)
    return few


def test_each_trial_is_a_run_with_its_setting_and_its_curve(found):
    told = list(trials(found))
    assert len({run.key for run in told}) == len(told) == len(found.trials())
    one = told[1]
    assert (one.name, one.stage, one.state) == ("adamw 1", "search", TrialState.COMPLETE)
    betas = found.trials().betas[1]
    assert (one.params["beta1"], one.params["beta2"]) == betas
    assert [step for step, _ in one.points][-1] == one.params["steps"] == 270
    assert one.points[-1][1]["loss"] == found.trials().loss[1]


def test_nothing_is_told_that_may_hold_a_secret(found):
    said = verdict(with_task(found, command="train.py --key hunter2", data="s3://key@bucket"))
    assert [*said.params] == ["model", "steps", "batch_size", "parameters", "precision"]
    failed = next(run for run in trials(found) if run.state is TrialState.FAILED)
    assert "reason" not in failed.told  # the text of a user's exception
    diverged = next(run for run in trials(found) if run.state is TrialState.DIVERGED)
    assert diverged.told["reason"] == "loss became NaN at step 19"


# --- MLflow


@pytest.fixture
def mlflow(monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a store without a database
    from autotune.integrations import mlflow

    return mlflow


def test_mlflow_reads_the_search_and_its_trials_back(mlflow, found, tmp_path):
    from mlflow import MlflowClient
    from mlflow.telemetry.utils import is_telemetry_disabled

    uri, few = f"file://{tmp_path}/runs", Few(found, 1, 3, 7)
    parent = mlflow.log(few, experiment="vit", tracking_uri=uri)
    client = MlflowClient(tracking_uri=uri)
    folder = client.get_experiment_by_name("vit").experiment_id
    runs = client.search_runs([folder], f"tags.mlflow.parentRunId = '{parent}'")
    ended = Counter((run.data.tags["state"], run.info.status) for run in runs)
    states = [("complete", "FINISHED"), ("diverged", "FAILED"), ("failed", "FAILED")]
    assert sorted(ended) == states
    one = next(run for run in runs if run.info.run_name == "adamw 1")
    own = next(trials(few))
    assert one.data.params == {name: str(value) for name, value in own.params.items()}
    curve = client.get_metric_history(one.info.run_id, "loss")
    wanted = [(step, measured["loss"]) for step, measured in own.points if "loss" in measured]
    assert [(point.step, point.value) for point in curve] == wanted
    whole = client.get_run(parent)
    (row,) = found.rows
    assert whole.data.metrics["adamw/tuned loss low"] == pytest.approx(row.tuned.loss.low)
    assert whole.data.tags["verdict 01"] == found.comparison.verdict
    assert (whole.info.run_name, whole.info.status) == (NAME, "FINISHED")
    assert is_telemetry_disabled()


def test_mlflow_is_told_each_trial_once_and_again_where_that_was_cut_short(mlflow, found, tmp_path):
    from mlflow import MlflowClient

    uri = f"file://{tmp_path}/runs"
    parent = mlflow.log(Few(found, 1), tracking_uri=uri)
    client = MlflowClient(tracking_uri=uri)
    folder = client.get_run(parent).info.experiment_id

    def written():
        asked = client.search_runs([folder], f"tags.mlflow.parentRunId = '{parent}'")
        return {run.info.run_name: run.info for run in asked}

    first = written()["adamw 1"]
    assert mlflow.log(Few(found, 1, 3), tracking_uri=uri) == parent
    assert {name: info.run_id for name, info in written().items()}["adamw 1"] == first.run_id
    client.update_run(written()["adamw 3"].run_id, status="RUNNING")
    mlflow.log(Few(found, 1, 3), tracking_uri=uri)
    assert {name: info.status for name, info in written().items()} == {
        "adamw 1": "FINISHED",
        "adamw 3": "FAILED",
    }


class Later(Few):
    """The same, where these trials went on for a minute since."""

    def records(self):
        for optimizer, trial, curve in super().records():
            yield optimizer, replace(trial, updated=trial.updated + timedelta(minutes=1)), curve


def test_mlflow_is_told_again_of_a_trial_that_went_on_since(mlflow, found, tmp_path):
    from mlflow import MlflowClient

    uri = f"file://{tmp_path}/runs"
    parent = mlflow.log(Few(found, 1), tracking_uri=uri)
    mlflow.log(Later(found, 1), tracking_uri=uri)
    client = MlflowClient(tracking_uri=uri)
    folder = client.get_run(parent).info.experiment_id
    (run,) = client.search_runs([folder], f"tags.mlflow.parentRunId = '{parent}'")
    (one,) = trials(Later(found, 1))
    assert run.info.end_time == round(one.ended.timestamp() * 1000)


def test_a_password_of_a_tracking_server_is_not_printed(mlflow, found, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = "http://ann:hunter2@127.0.0.1:9"
    with pytest.raises(StorageError) as caught:
        mlflow.log(found, tracking_uri=uri)
    assert str(caught.value).startswith("MLflow at http://ann:***@127.0.0.1:9: ")
    assert "hunter2" not in str(caught.value)


# --- W&B


def chunks(data):
    """Yield the records of a file of W&B's, which is a log of LevelDB's after seven bytes."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        if BIG - place % BIG < 7:  # what is left of a block holds no header
            place += BIG - place % BIG
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def read_back(folder):
    """Return what each offline run holds: its first record, its history and its summary."""
    from wandb.proto.wandb_internal_pb2 import Record

    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        records = [Record.FromString(chunk) for chunk in chunks(file.read_bytes())]
        begun = next(r.run for r in records if r.WhichOneof("record_type") == "run")
        history = [
            {item.key or "/".join(item.nested_key): item.value_json for item in r.history.item}
            for r in records
            if r.WhichOneof("record_type") == "history"
        ]
        summary = {
            item.key or "/".join(item.nested_key): item.value_json
            for r in records
            if r.WhichOneof("record_type") == "summary"
            for item in r.summary.update
        }
        ends = [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"]
        yield begun, history, summary, ends


@pytest.mark.filterwarnings("ignore")
def test_wandb_s_files_hold_the_trials_and_the_verdict(found, tmp_path, capfd):
    pytest.importorskip("wandb", reason="wandb is not installed")
    from autotune.integrations import wandb

    few = Few(found, 1, 3)
    assert wandb.log(few, project="vit", mode="offline", directory=tmp_path) == 3
    runs = {begun.display_name: rest for begun, *rest in read_back(tmp_path)}
    assert sorted(runs) == ["adamw 1", "adamw 3", f"{NAME} verdict"]
    history, summary, ends = runs["adamw 1"]
    own = next(trials(few))
    losses = [(int(row["_step"]), float(row["loss"])) for row in history if "loss" in row]
    assert losses == [(step, m["loss"]) for step, m in own.points if "loss" in m]
    assert (summary["state"], ends) == ('"complete"', [0])
    assert runs["adamw 3"][1]["reason"] == '"loss became NaN at step 19"'
    assert runs["adamw 3"][2] == [1]
    low = runs[f"{NAME} verdict"][1]["adamw/tuned loss low"]
    assert float(low) == pytest.approx(found.rows[0].tuned.loss.low)
    begun = next(b for b, *_ in read_back(tmp_path) if b.display_name == "adamw 1")
    config = {item.key: item.value_json for item in begun.config.update}
    assert float(config["lr"]) == own.params["lr"]
    assert (begun.project, begun.run_group, begun.job_type) == ("vit", NAME, "search")
    assert "".join(capfd.readouterr()) == ""  # nothing is printed, so no key either
