"""A worker's places: each holds one trial of a search that an engine trains for the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from autotune.client.leases import Leases
from autotune.client.states import local
from autotune.client.wire import Wire
from autotune.search.taken import Taken
from autotune.studies.records import Gradient
from autotune.training.job import Job, Outcome, Report

GOES_ON = "continue"  # what the service says where a trial is trained on
PART = 5000  # gradients in one call, so that its body stays below what a service reads


class Seat(Leases):
    """One place for a trial that an engine trains.

    Args:
        wire: The way to the service.
        search: Name of the search.
        worker: Name of this place; what it held before it is given again.
        states: Folder of the files that trials are saved to.
        facts: Facts of the task as this machine has it.
        task: Arguments of ``autotune.tasks.resolve.resolve``.
        content: Hashes of the model's files, by name.
    """

    def __init__(
        self,
        wire: Wire,
        search: str,
        worker: str,
        states: Path,
        *,
        facts: Mapping[str, Any],
        task: Mapping[str, Any],
        content: Mapping[str, str],
    ) -> None:
        super().__init__(wire, search, worker, states)
        self._facts, self._task, self._content = dict(facts), task, content
        self._folder = states.absolute() / quote(search, safe=" ").strip(".")
        self.taken: Taken | None = None  # what an engine trains now

    def _asking(self) -> dict[str, Any]:
        return {**super()._asking(), "facts": self._facts}

    def _job(self, lease: Mapping[str, Any]) -> Job:
        job, state = super()._job(lease), lease.get("state") or {}
        trial, attempt = lease["id"].split(".")  # of all studies together, as an engine needs it
        self._folder.mkdir(parents=True, exist_ok=True)
        return replace(
            job,
            trial=int(trial),
            task=self._task,
            content=self._content,
            checkpoint=str(self._folder / f"{quote(job.optimizer)}-{trial}-{attempt}.pt"),
            resume=state.get("uri"),
        )

    def _load(self, taken: Taken) -> tuple[int, Any] | None:
        """Say where the file of a trial's state is; an engine loads it."""
        path = local(taken.job.resume)
        if path is None or not path.is_file():
            return None
        taken.job = replace(taken.job, resume=str(path))
        return taken.job.start, None

    def hear(self, report: Report) -> bool:
        """Tell the service a report of the engine; return whether the trial is trained on."""
        taken = self.taken
        if taken is None or report.attempt != taken.job.attempt:
            return True
        goes_on = self._tell(taken, report)
        if report.outcome is not Outcome.PROGRESS:
            self.taken = None
            self._close_as(taken, report)
        return goes_on

    def _tell(self, taken: Taken, report: Report) -> bool:
        """Tell measurements, and where the state is that was saved."""
        *parts, last = _parts(report.gradients)
        for part in parts:
            self._post(self._url(taken), taken, "points", {"gradients": part})
        body: dict[str, Any] = {"points": [asdict(point) for point in report.points]}
        body |= {"gradients": last} if last else {}
        if report.saved and 0 < report.step < taken.job.target:
            uri = Path(str(taken.job.checkpoint)).as_uri()
            body["state"] = {"uri": uri, "step": report.step, "sha256": report.checksum}
        if not body["points"] and body.keys() == {"points"}:
            return not taken.over
        answer = self._post(self._url(taken), taken, "points", body)
        if answer is not None and "state" in body:
            self._states.keep(taken, body["state"]["uri"])
        return answer is not None and answer.body["command"] == GOES_ON

    def _close_as(self, taken: Taken, report: Report) -> None:
        """End the lease as the engine says that its job ended."""
        if report.outcome is Outcome.LOST and report.blame:
            # Asked for anew without being ended, it counts as one of the trial's tries.
            self._beats.drop(self._url(taken))
            self._forget(taken)
            return
        reason = "\n".join(filter(None, (report.reason, *report.output))) or None
        lost = report.outcome is Outcome.LOST
        outcome = Outcome.INTERRUPTED if lost else report.outcome
        self._end(taken, replace(report, outcome=outcome, reason=reason))


def _parts(measured: Sequence[Gradient]) -> list[list[dict[str, Any]]]:
    """Return what was measured of gradients as calls hold it, without what was not; one at least.

    A state that is saved is told with the last of them: what is of later steps is measured again.
    """
    rows = [{k: v for k, v in asdict(one).items() if v is not None} for one in measured]
    return [rows[at : at + PART] for at in range(0, max(1, len(rows)), PART)]
