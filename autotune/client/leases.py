"""A search of a service, as a loop sees it: asked for trials, told what came of them."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from autotune.client.beats import Beats
from autotune.client.faults import Refused
from autotune.client.states import States
from autotune.client.wire import Answer, Wire
from autotune.errors import AlreadyThere, AutotuneError, LeaseLost
from autotune.search.taken import Over, Taken, Wait
from autotune.studies.setting import Setting
from autotune.training.job import Job, Outcome, Report

HOLD = 25.0  # seconds that the service may wait with its answer
LEAVING = 5.0  # seconds that giving back may take: this process is to end
OVER = frozenset({"complete", "diverged", "failed", "stopped"})  # it needs no saved state
LONGEST = 2000  # characters of a reason

_log = logging.getLogger("autotune.client")


class Leases:
    """One worker's part in a search of a service.

    Args:
        wire: The way to the service.
        search: Name of the search.
        worker: Name of this worker; what it held before it is given again.
        states: Folder of the files that trials are saved to.
        pauses: Whether its loop can go on with a trial later; else rungs say at once who goes on.
    """

    def __init__(
        self, wire: Wire, search: str, worker: str, states: Path, *, pauses: bool = True
    ) -> None:
        self.search, self.worker, self.over = search, worker, False
        self._wire, self._pid, self._pauses = wire, os.getpid(), pauses
        self._states = States(states, search)
        self._open: dict[str, Taken] = {}  # by the address of the lease
        self._beats = Beats(wire, self._lose)
        self._request, self._waits = uuid.uuid4().hex, ""

    def ask(self, patience: float | None = None) -> Taken | Wait | Over:
        """Return the next trial to train, which others may have to end before.

        Args:
            patience: Seconds after which `Wait` is returned; None: never.

        Raises:
            NotFound: The service has no such search.
            SpecError: The search trains its trials by itself.
            Unavailable: The service was away for too long.
        """
        began = time.monotonic()
        while not self.over:
            left = HOLD if patience is None else patience - (time.monotonic() - began)
            if left <= 0:
                return Wait(0.0)
            found = self._ask(min(left, HOLD))
            if isinstance(found, Taken):
                return found
            time.sleep(min(found, max(left, 0.0)))
        return Over()

    def _ask(self, hold: float) -> Taken | float:
        """Ask once; return a trial, or the seconds after which to ask again."""
        path = f"/v1/searches/{quote(self.search, safe='')}/leases"
        try:
            answer = self._wire.call("POST", path, self._asking(), hold=hold)
        except Refused as error:
            return self._refused(error)
        if not answer.body:
            self._say_why(answer)
            return answer.after
        self._request, self._waits = uuid.uuid4().hex, ""
        return self._take(answer.body["leases"][0])

    def _asking(self) -> dict[str, Any]:
        """Return what the service is asked with."""
        can_pause = "checkpoint" if self._pauses else "none"
        return {"worker": self.worker, "request": self._request, "can_pause": can_pause}

    def _refused(self, error: Refused) -> float:
        """Go on after a refusal that says how the search stands, or raise it."""
        if error.kind == "request-spent":  # its answer came to nobody, and its lease is over
            self._request = uuid.uuid4().hex
            return 0.0
        if error.kind not in {"search-over", "search-stopped"}:
            raise error
        _log.info(str(error))
        self.close()
        return 0.0

    def _say_why(self, answer: Answer) -> None:
        if answer.reason != self._waits:
            self._waits = answer.reason
            _log.info(f"search '{self.search}' has nothing to train now: {answer.reason}")

    def _job(self, lease: Mapping[str, Any]) -> Job:
        state = lease.get("state") or {}
        return Job(
            trial=lease["trial"],
            attempt=lease["attempt"],
            task={},
            optimizer=lease["optimizer"],
            setting=Setting(
                params={}, hyper=lease["hyper"], warmup=lease["schedule"]["warmup_fraction"]
            ),
            seed=lease["seed"],
            start=lease["from_step"],
            stop=lease["stop_at"],
            target=lease["schedule"]["steps"],
            evaluate=tuple(lease["evaluate_at"]),
            resume=state.get("uri"),
            checksum=state.get("sha256"),
            pauses=self._pauses,
            norms=lease.get("norms", False),  # a service that keeps none does not say so
            noise=tuple(lease.get("noise", ())),
        )

    def _take(self, lease: Mapping[str, Any]) -> Taken:
        job, url = self._job(lease), lease["url"]
        taken = Taken(job=job, number=lease["trial"])
        self._open[url] = taken
        self._beats.hold(url, lease["beat_every"])
        if job.start:
            self._restore(url, taken)
        return taken

    def _restore(self, url: str, taken: Taken) -> None:
        """Give a trial the state that it was saved with, if this worker can reach it."""
        found = self._load(taken)
        if found is not None:
            taken.start, taken.state = found
            taken.step = taken.start
            return
        _log.warning(
            f"{taken.who}: its state {taken.job.resume} cannot be used here, so it begins at step "
            "0 again; let all workers write to the same folder, with states=..., to go on"
        )
        taken.job = replace(taken.job, start=0, resume=None)
        self._post(url, taken, "points", {"state": "missing"})

    def _load(self, taken: Taken) -> tuple[int, Any] | None:
        """Return the step and the state that a trial was saved with; None: it cannot be used."""
        return self._states.load(taken)

    def measured(self, taken: Taken, step: int, loss: float, accuracy: float | None) -> bool:
        """Tell a measurement; return whether to train on."""
        taken.refuse_told()
        if taken.over:
            return False
        taken.check({step: loss})
        return self._measured(taken, step, loss, accuracy)

    def _measured(self, taken: Taken, step: int, loss: float, accuracy: float | None) -> bool:
        report = taken.measured(step, loss, accuracy)
        if report.outcome is Outcome.DIVERGED:
            self._close(taken, report)
            return False
        points = [
            {"step": p.step, "loss": p.loss, "accuracy": p.accuracy, "seconds": p.seconds}
            for p in report.points
        ]
        answer = self._post(self._url(taken), taken, "points", {"points": points})
        if answer is None or step >= taken.job.stop:
            return False
        if answer.body["command"] == "stop":
            taken.job = replace(taken.job, stop=step)  # it is over here
            return False
        taken.leaves = answer.body["command"] != "continue"
        return not taken.leaves

    def tell(self, taken: Taken, losses: Mapping[int, float]) -> None:
        """Tell further measurements and end a trial; raises SpecError where some are missing."""
        taken.refuse_told()
        if not taken.over:
            taken.check(losses, to=None if taken.leaves else taken.job.stop)
        for step, loss in losses.items():
            if not taken.over and step > taken.job.stop:
                _log.warning(taken.dropped(step))
                break
            if not taken.over:
                self._measured(taken, step, loss, None)
        self.end(taken)

    def end(self, taken: Taken) -> None:
        """End a trial whose loop has ended by itself."""
        self._end(taken, taken.ended())

    def fail(self, taken: Taken, reason: str, outcome: Outcome = Outcome.FAILED) -> None:
        """End a trial that cannot be trained."""
        taken.refuse_told()
        self._end(taken, taken.report(outcome, reason=reason))

    def leave(self, taken: Taken) -> None:
        """Give back a trial that its loop left: it is taken again."""
        if taken.told or os.getpid() != self._pid:  # a forked process: it is its parent's
            return
        reason = f"worker {self.worker} was interrupted"
        try:
            self._end(taken, taken.report(Outcome.INTERRUPTED, reason=reason), LEAVING)
        except AlreadyThere:  # told otherwise, just before it was interrupted
            self._forget(taken)
        except AutotuneError as error:  # the lease runs out by itself
            self._forget(taken)
            _log.warning(f"{taken.who} was not given back, its lease has to run out: {error}")

    def save(self, taken: Taken, state: Mapping[str, Any], step: int | None) -> None:
        """Write the state of a trial after ``step`` steps; None: those measured last."""
        taken.refuse_told()
        at = taken.saving(step)
        if at is None:
            return
        try:
            saved = self._states.save(taken, state, at)
        except OSError as error:
            _log.warning(f"{taken.who}: its state was not saved: {error}")
            return
        if self._post(self._url(taken), taken, "points", {"state": saved}) is not None:
            self._states.keep(taken, saved["uri"])

    def close(self) -> None:
        """Give back what is not told, and ask no more."""
        if self.over or os.getpid() != self._pid:
            return
        self.over = True
        for taken in list(self._open.values()):
            self.leave(taken)
        self._beats.close()

    def _url(self, taken: Taken) -> str:
        return next((url for url, one in self._open.items() if one is taken), "")

    def _post(
        self,
        url: str,
        taken: Taken,
        verb: str,
        body: Mapping[str, Any],
        patience: float | None = None,
    ) -> Answer | None:
        """Return the answer of a call on a lease; None, with a notice, where it is over."""
        if taken.over:
            return None
        try:
            return self._wire.call("POST", f"{url}/{verb}", body, patience=patience)
        except LeaseLost as error:
            self._beats.drop(url)
            self._lose(url, str(error))
            return None

    def _lose(self, url: str, why: str) -> None:
        taken = self._open.get(url)
        if taken is not None and not taken.over:
            taken.over = True
            _log.warning(f"{taken.who} is not this worker's any more: {why}")

    def _end(self, taken: Taken, report: Report, patience: float | None = None) -> None:
        self._close(taken, report, patience)
        self._forget(taken)

    def _forget(self, taken: Taken) -> None:
        self._open.pop(self._url(taken), None)
        taken.told = True

    def _close(self, taken: Taken, report: Report, patience: float | None = None) -> None:
        """End a lease; nothing more of it is told."""
        url, reason = self._url(taken), report.reason
        self._beats.drop(url)  # one that is under way may find it ended
        body = {
            "outcome": report.outcome.value,
            "step": report.step,
            "reason": reason[:LONGEST] if reason else None,
        }
        answer = self._post(url, taken, "end", body, patience)
        if answer is not None and answer.body.get("state") in OVER:
            self._states.keep(taken, None)
        taken.over = True
