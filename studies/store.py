"""Remember searches: every change is one short transaction, refused when it comes too late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update

from autotune.studies import attempts, gradients, new_trial
from autotune.studies.database import storable
from autotune.studies.errors import NotFound
from autotune.studies.leases import touch
from autotune.studies.models import (
    Export,
    Recommendation,
    Search,
    Study,
    Trial,
)
from autotune.studies.reading import trial
from autotune.studies.records import (
    Asked,
    Gradient,
    Point,
    Proposal,
    TrialRecord,
    TrialState,
)
from autotune.studies.retry import retried
from autotune.studies.searches import Searches, add


class Store(Searches):
    """A database of searches; a context manager.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with Store(f"{folder.name}/autotune.db") as store:
        ...     search = store.create_search("demo", {}, {}, {"adan": {}}, {})
        >>> search.studies[0].optimizer
        'adan'
        >>> folder.cleanup()
    """

    def add_trial(self, study_id: int, proposal: Proposal) -> TrialRecord:
        """Add a waiting trial with the study's next number."""
        with self._database.writing() as connection:
            return trial(self._add_trial(connection, study_id, proposal))

    @retried
    def begin(
        self,
        trial_id: int,
        worker: Asked | str,
        *,
        stop: int | None = None,
        turn: str | None = None,
    ) -> int:
        """Let a worker run a trial; return the attempt number its reports have to carry.

        Args:
            trial_id: The trial.
            worker: Who runs it: a name, or with it what a worker asked by.
            stop: The step it is run to.
            turn: Who decided so; raises LeaseLost where that turn is over, and ends it else.
        """
        with self._database.writing() as connection:
            revision = self._touch_trial(connection, trial_id, turn)
            return attempts.begin(connection, trial_id, _asked(worker), stop, revision=revision)

    @retried
    def begin_new(
        self,
        study_id: int,
        proposal: Proposal,
        worker: Asked | str,
        *,
        stop: int,
        turn: str,
    ) -> TrialRecord:
        """Add a trial and let a worker run it as its first attempt, on ``begin``'s terms."""
        with self._database.writing() as connection:
            running = {"state": TrialState.RUNNING, "attempt": 1}
            row = self._add_trial(connection, study_id, proposal, turn, **running)
            attempts.enter(connection, row.id, 1, _asked(worker), stop=stop)
            return trial(row)

    @retried
    def add_measured(
        self,
        study_id: int,
        proposal: Proposal,
        points: Sequence[Point],
        *,
        state: TrialState,
        reason: str | None,
        turn: str,
    ) -> TrialRecord:
        """Add a trial that was measured elsewhere and is over, on ``begin``'s terms.

        Args:
            study_id: Of which study.
            proposal: Its setting, with ``Role.ADDED``.
            points: Its curve, the last point is its end.
            state: Where it stands.
            reason: Why it ended so.
            turn: Who knows that nobody decides meanwhile.
        """
        last = points[-1]
        end = {"step": last.step, "loss": last.loss, "accuracy": last.accuracy, "reason": reason}
        with self._database.writing() as connection:
            over = {"state": state, "final": True, **end}
            row = self._add_trial(connection, study_id, proposal, turn, **over)
            attempts.add_points(connection, row.id, [p for p in points if p.loss is not None])
            return trial(row)

    @retried
    def record(  # noqa: PLR0913  one argument a column
        self,
        trial_id: int,
        attempt: int,
        *,
        state: TrialState,
        step: int,
        loss: float | None = None,
        accuracy: float | None = None,
        seconds: float = 0.0,
        reason: str | None = None,
        points: Sequence[Point] = (),
        measured: Sequence[Gradient] = (),
        checkpoint: tuple[str, str] | None = None,
    ) -> TrialRecord:
        """Store how a trial stands; ``seconds`` are added to those before.

        A report that comes twice is stored once. One of an attempt that another has replaced is
        refused with LeaseLost, and changes nothing.

        Args:
            trial_id: The trial.
            attempt: Whose report it is.
            state: Where the trial stands.
            step: Steps taken.
            loss: Validation loss at that step.
            accuracy: Likewise.
            seconds: Spent since the last report.
            reason: Why it diverged, failed or stopped.
            points: Of its curve, those not told before.
            measured: Of its gradients, likewise.
            checkpoint: Name and checksum of a new file with its state.
        """
        for name, value in (("loss", loss), ("accuracy", accuracy), ("seconds", seconds)):
            attempts.finite(name, value)
        values: dict[str, Any] = {
            "state": state,
            "step": step,
            "loss": loss,
            "accuracy": accuracy,
            "seconds": Trial.seconds + seconds,
            "reason": storable(reason),
            **_files(state, checkpoint),
        }
        # What the search stops may go on when it does; what its own worker stops is over.
        values |= {"final": True} if state is TrialState.STOPPED else {}
        with self._database.writing() as connection:
            revision = self._touch_trial(connection, trial_id)
            if attempts.outcome(connection, trial_id, attempt) != state:
                now = attempts.sign_of_life(connection, trial_id, attempt)
                attempts.add_points(connection, trial_id, points)
                gradients.add(connection, trial_id, measured)
                attempts.end(connection, trial_id, attempt, state)
                values |= {"updated": now, "revision": revision}
                connection.execute(update(Trial).where(Trial.id == trial_id).values(values))
            return self._trial(connection, trial_id)

    @retried
    def add_points(
        self,
        trial_id: int,
        attempt: int,
        points: Sequence[Point],
        measured: Sequence[Gradient] = (),
    ) -> None:
        """Add to a trial's curve and to what is known of its gradients, on ``record``'s terms."""
        with self._database.writing() as connection:
            revision = self._touch_trial(connection, trial_id)
            attempts.sign_of_life(connection, trial_id, attempt)
            attempts.add_points(connection, trial_id, points)
            gradients.add(connection, trial_id, measured)
            _mark(connection, trial_id, revision)

    @retried
    def stop_trials(self, study_id: int, reasons: Mapping[int, str]) -> list[TrialRecord]:
        """Close trials that are waiting or paused, and return them; ``reasons`` is by trial."""
        idle = Trial.state.in_([TrialState.WAITING, TrialState.PAUSED])
        with self._database.writing() as connection:
            revision = self._touch_study(connection, study_id)
            now = attempts.clock(connection)
            values = {"state": TrialState.STOPPED, "updated": now, "revision": revision}
            values |= {"checkpoint": None, "checksum": None}
            for trial_id, reason in reasons.items():
                which = (Trial.id == trial_id, Trial.study_id == study_id, idle)
                connection.execute(update(Trial).where(*which).values(**values, reason=reason))
            return [self._trial(connection, trial_id) for trial_id in reasons]

    @retried
    def save_recommendation(self, study_id: int, content: Mapping[str, Any]) -> None:
        """Store what a study recommends, in place of what it did before."""
        with self._database.writing() as connection:
            self._touch_study(connection, study_id)
            now = attempts.clock(connection)
            connection.execute(delete(Recommendation).where(Recommendation.study_id == study_id))
            add(connection, Recommendation, study_id=study_id, content=dict(content), created=now)

    def add_export(self, study_id: int, format: str, path: str | None, text: str) -> None:
        """Remember a file written for another tool; no path when it was only printed."""
        with self._database.writing() as connection:
            self._touch_study(connection, study_id)
            now = attempts.clock(connection)
            values = {"format": format, "path": storable(path), "text": storable(text)}
            add(connection, Export, study_id=study_id, created=now, **values)

    def _add_trial(
        self,
        connection: Connection,
        study_id: int,
        proposal: Proposal,
        turn: str | None = None,
        **begun: Any,
    ) -> Any:
        """Add a trial and return its row; ``begun`` is what it has if a worker runs it at once."""
        attempts.finite("warmup", proposal.setting.warmup)
        revision = self._touch_study(connection, study_id, turn)
        return new_trial.insert_into(connection, study_id, proposal, revision=revision, **begun)

    def _touch_study(self, connection: Connection, study_id: int, turn: str | None = None) -> int:
        search = select(Study.search_id).where(Study.id == study_id).scalar_subquery()
        revision = touch(connection, Search.id == search, turn)
        if revision is None:
            raise NotFound(f"no study {study_id} in {self}")
        return revision


def _asked(worker: Asked | str) -> Asked:
    return Asked(worker=worker) if isinstance(worker, str) else worker


def _mark(connection: Connection, trial_id: int, revision: int) -> None:
    """Note of a trial which change of its search was its last."""
    connection.execute(update(Trial).where(Trial.id == trial_id).values(revision=revision))


def _files(state: TrialState, checkpoint: tuple[str, str] | None) -> dict[str, str | None]:
    """Return what becomes of a trial's checkpoint: one that will not go on has none."""
    if state not in {TrialState.PAUSED, TrialState.WAITING, TrialState.RUNNING}:
        return {"checkpoint": None, "checksum": None}
    return dict(zip(("checkpoint", "checksum"), checkpoint, strict=True)) if checkpoint else {}
