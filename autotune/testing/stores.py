"""What every store has to do; another one subclasses ``StoreContract`` in its tests."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from autotune.errors import AlreadyThere, LeaseLost, NotFound, SpecError
from autotune.studies import tokens
from autotune.studies.records import (
    NO_SEED,
    Command,
    Point,
    Proposal,
    Role,
    SearchRecord,
    SearchState,
    TrialRecord,
    TrialState,
)
from autotune.studies.store import Store
from autotune.studies.tokens import Scope, Why
from autotune.testing.expect import expect, same
from autotune.testing.trials import nested

SPACES = {"adan": {"lr": ["log", 1e-4, 1e-1]}, "adamw": {"lr": ["log", 1e-5, 1e-2]}}


def proposal(**changes: Any) -> Proposal:
    """Return a setting to try."""
    fields: dict[str, Any] = {
        "role": Role.SEARCH, "origin": "sobol", "params": {"lr": 0.01},
        "hyper": {"lr": 0.01, "betas": [0.98, 0.92, 0.99]}, "warmup": 0.1, "seed": 0,
        "target": 90, **changes,
    }  # fmt: skip
    return Proposal(**nested(**fields))


def curve(length: int) -> list[Point]:
    """Return points of training losses."""
    return [Point(step=i, seconds=i / 10, train_loss=2 / (i + 1)) for i in range(length)]


def created(store: Store, name: str = "net") -> SearchRecord:
    """Begin a search of two optimizers."""
    return store.create_search(name, {"model": "net"}, {"steps": 90}, SPACES, {"torch": "2.13"})


def begun(store: Store, study: int, worker: str = "w1") -> tuple[int, int]:
    """Add a trial that a worker runs; return it and the number of the attempt."""
    trial = store.add_trial(study, proposal())
    return trial.id, store.begin(trial.id, worker, stop=90)


def ended(
    store: Store,
    study: int,
    state: TrialState = TrialState.COMPLETE,
    role: Role = Role.SEARCH,
    **outcome: Any,
) -> TrialRecord:
    """Add a trial, and record how it ended."""
    trial = store.add_trial(study, proposal(role=role))
    attempt = store.begin(trial.id, "w1")
    return store.record(trial.id, attempt, state=state, **{"step": 90, **outcome})


def refused(kind: type[Exception], sentence: str, act: Callable[[], object]) -> None:
    """Fail unless something is refused."""
    with pytest.raises(kind) as error:
        act()
    expect(sentence in str(error.value), f"the refusal must say {sentence!r}, says {error.value}")


class StoreContract:
    """Tests of one store; a subclass gives the fixture ``open_store``.

    It returns what opens one database, again and again, which is empty at first.
    """

    @pytest.fixture
    def store(self, open_store: Callable[[], Store]) -> Iterator[Store]:
        """The store, opened."""
        with open_store() as store:
            yield store

    @pytest.fixture
    def study(self, store: Store) -> int:
        """The first study of a search named net."""
        return created(store).studies[0].id

    def test_a_search_comes_back_with_a_study_for_each_optimizer(self, store: Store) -> None:
        """Read what was begun."""
        same("what an empty store lists", store.searches(), [])
        search = created(store)
        same("the search", store.search("net"), search)
        same("its optimizers", [study.optimizer for study in search.studies], ["adan", "adamw"])
        same("its spaces", {one.optimizer: one.space for one in search.studies}, SPACES)

    def test_searches_are_listed_newest_first(self, store: Store) -> None:
        """Begin three."""
        for name in ("one", "two", "three"):
            created(store, name)
        same("names", [search.name for search in store.searches()], ["three", "two", "one"])

    def test_a_name_is_given_once(self, store: Store, study: int) -> None:
        """Begin a search of a name that is taken, and look for one that is not there."""
        refused(AlreadyThere, "search 'net' is already in", lambda: created(store))
        refused(NotFound, "did you mean 'net'?", lambda: store.search("nte"))
        refused(NotFound, "no trial 99 in", lambda: store.trial(99))

    def test_a_trial_is_numbered_within_its_study(self, store: Store) -> None:
        """Add trials to two studies in turn."""
        first, second = created(store).studies
        numbers = [store.add_trial(one.id, proposal()).number for one in (first, second, first)]
        same("numbers", numbers, [0, 0, 1])

    def test_what_was_measured_elsewhere_leaves_number_0_to_the_default(
        self, store: Store, study: int
    ) -> None:
        """Add a trial that is over, the first that is run, another of each."""
        asked = proposal(role=Role.ADDED, origin="added: a grid", seed=NO_SEED)
        how: dict[str, Any] = {"state": TrialState.DIVERGED, "reason": "not finite", "turn": "w"}
        numbers = []
        for loss in (0.5, 0.25):
            points = [Point(step=3, seconds=0.0, loss=loss), Point(step=4, seconds=0.0)]
            store.take_turn(store.search("net").id, "w")
            over = store.add_measured(study, asked, points, **how)
            numbers += [over.number, store.add_trial(study, proposal()).number]
            same("its curve", store.curve(over.id), tuple(points[:1]))
            same("its end", (over.step, over.loss, over.final), (4, None, True))
        same("numbers", numbers, [1, 0, 2, 3])
        found = store.search("net").studies[0]
        same("counted apart", (found.added, found.counts), (2, {TrialState.WAITING: 2}))
        sentence = "the turn of w was over"
        refused(LeaseLost, sentence, lambda: store.add_measured(study, asked, points, **how))

    def test_a_trial_comes_back_as_it_was_proposed(self, store: Store, study: int) -> None:
        """Add a trial that judges another."""
        asked = proposal(role=Role.JUDGE, origin="tuned", seed=4, source=7)
        trial = store.trial(store.add_trial(study, asked).id)
        known = asdict(trial)
        same("the trial", {key: known[key] for key in asdict(asked)}, asdict(asked))
        same("its state", trial.state, TrialState.WAITING)

    def test_records_are_made_of_what_json_can_hold(self, store: Store, study: int) -> None:
        """Write each kind of record as JSON."""
        trial = ended(store, study, points=[Point(step=1, seconds=0.5, loss=2.0)], loss=2.0)
        for record in (store.search("net"), trial, store.curve(trial.id)[0]):
            expect(bool(json.dumps(asdict(record), default=str)), "a record is empty")

    def test_a_trial_records_how_it_ended(self, store: Store, study: int) -> None:
        """Record losses, and seconds of two attempts."""
        trial = ended(store, study, TrialState.PAUSED, step=30, seconds=2.0)
        attempt = store.begin(trial.id, "w2")
        same("its state", store.trial(trial.id).state, TrialState.RUNNING)
        outcome: dict[str, Any] = {"step": 90, "loss": 0.5, "accuracy": 0.9, "seconds": 4.0}
        found = store.record(trial.id, attempt, state=TrialState.COMPLETE, **outcome)
        same("the end", {key: getattr(found, key) for key in outcome}, {**outcome, "seconds": 6.0})
        same("its state", store.trial(trial.id).state, TrialState.COMPLETE)

    def test_a_report_of_an_older_attempt_is_refused(self, store: Store, study: int) -> None:
        """Report after another worker took over; nothing of it is stored."""
        trial, late = begun(store, study, "lost")
        store.begin(trial, "its successor")
        before = store.trial(trial)
        said = f"attempt {late} at trial {trial} is over"
        end: dict[str, Any] = {"state": TrialState.COMPLETE, "step": 90, "loss": 0.1}
        refused(LeaseLost, said, lambda: store.record(trial, late, **end))
        refused(LeaseLost, said, lambda: store.add_points(trial, late, curve(3)))
        same("the trial", store.trial(trial), before)
        same("its curve", store.curve(trial), ())

    def test_a_report_that_comes_twice_is_stored_once(self, store: Store, study: int) -> None:
        """Report a pause twice."""
        trial, attempt = begun(store, study)
        for _ in range(2):
            store.record(trial, attempt, state=TrialState.PAUSED, step=9, seconds=2.0)
        same("seconds", store.trial(trial).seconds, 2.0)

    def test_a_curve_is_kept_by_step(self, store: Store, study: int) -> None:
        """Add points out of order, and one again."""
        trial, attempt = begun(store, study)
        store.add_points(trial, attempt, list(reversed(curve(4))))
        store.add_points(trial, attempt, [Point(step=3, seconds=9.0)])
        same("the curve", store.curve(trial), (*curve(3), Point(step=3, seconds=9.0)))

    def test_curves_and_losses_are_of_one_study(self, store: Store) -> None:
        """Measure trials of two."""
        first, second = (study.id for study in created(store).studies)
        points = [Point(step=3, seconds=1.0, loss=2.0), Point(step=9, seconds=2.0, loss=1.5)]
        mine = ended(store, first, points=[*points, Point(step=14, seconds=3.0, train_loss=1.0)])
        ended(store, first)
        ended(store, second, points=points)
        same("points", {id: len(each) for id, each in store.curves(first).items()}, {mine.id: 3})
        same("the last losses", store.measured(first), {mine.id: points[1]})
        same("losses at 3", store.losses(first, [3]), {mine.id: {3: 2.0}})

    def test_a_study_counts_its_trials_and_knows_the_best(self, store: Store) -> None:
        """End trials of all kinds: only a completed one of the search is the best."""
        study = created(store).studies[0].id
        for loss in (0.5, 0.7):
            ended(store, study, loss=loss)
        ended(store, study, TrialState.STOPPED, loss=0.1)
        ended(store, study, role=Role.JUDGE, loss=0.2)
        mine, other = store.search("net").studies
        same("counts", mine.counts, {"complete": 3, "stopped": 1})
        same("the best", (mine.best, other.best), (0.5, None))
        numbers = [trial.number for trial in store.trials(study, Role.SEARCH)]
        same("search trials", numbers, [0, 1, 2])

    @pytest.mark.parametrize("loss", [math.nan, math.inf])
    def test_a_loss_that_cannot_be_compared_is_refused(
        self, store: Store, study: int, loss: float
    ) -> None:
        """Record what is no number."""
        trial, attempt = begun(store, study)
        end: dict[str, Any] = {"state": TrialState.COMPLETE, "step": 90, "loss": loss}
        refused(SpecError, "loss must be finite", lambda: store.record(trial, attempt, **end))
        same("its state", store.trial(trial).state, TrialState.RUNNING)

    def test_a_search_is_updated_field_by_field(self, store: Store, study: int) -> None:
        """Change some fields; what ended meanwhile is not taken up again."""
        store.update_search("net", state=SearchState.COMPLETE, add_seconds=2.5)
        late = store.update_search("net", state=SearchState.RUNNING, unless=SearchState.COMPLETE)
        same("its state", late.state, SearchState.COMPLETE)
        now = store.update_search("net", add_seconds=1.5, spec={"a": 1}, space={"adan": {"b": 2}})
        same("seconds, spec and space", (now.seconds, now.spec, now.studies[0].space),
             (4.0, {"a": 1}, {"b": 2}))  # fmt: skip

    def test_a_recommendation_replaces_the_one_before(self, store: Store, study: int) -> None:
        """Recommend twice; exports are all kept."""
        same("what is recommended at first", store.recommendation(study), None)
        for number in (1, 2):
            store.save_recommendation(study, {"trial": number})
            store.add_export(study, "yaml", f"{number}.yaml", "lr: 0.1")
        same("what is recommended", store.recommendation(study), {"trial": 2})
        same("exports", [one["path"] for one in store.exports(study)], ["1.yaml", "2.yaml"])

    def test_a_deleted_search_leaves_nothing_behind(self, store: Store, study: int) -> None:
        """Delete it, and begin it again: no number is given out twice."""
        trial = ended(store, study, points=curve(3))
        store.delete_search("net")
        same("searches", store.searches(), [])
        same("trials and points", (store.trials(study), store.curve(trial.id)), ([], ()))
        again = created(store).studies[0].id
        expect(ended(store, again).id > trial.id, "the number of a deleted trial came again")

    def test_any_change_changes_the_signature(self, store: Store, study: int) -> None:
        """Change a trial, and another search."""
        seen = [store.signature("net")]
        trial, attempt = begun(store, study)
        seen.append(store.signature("net"))
        store.record(trial, attempt, state=TrialState.COMPLETE, step=90)
        seen.append(store.signature("net"))
        same("different signatures", len(set(seen)), 3)
        created(store, "other")
        same("the signature after another's change", store.signature("net"), seen[-1])

    def test_one_decides_at_a_time(self, store: Store) -> None:
        """Take the turn, and begin a trial with one that is another's."""
        search = created(store)
        same("the first", store.take_turn(search.id, "w1"), True)
        same("the second", store.take_turn(search.id, "w2"), False)
        late: dict[str, Any] = {"stop": 30, "turn": "w2"}
        study = search.studies[0].id
        refused(LeaseLost, "the turn of w2 was over",
                lambda: store.begin_new(study, proposal(), "w2", **late))  # fmt: skip
        same("trials", store.trials(study), [])
        store.leave_turn(search.id, "w1")
        same("the second, once it is free", store.take_turn(search.id, "w2"), True)

    def test_what_a_dead_worker_ran_goes_back(self, store: Store) -> None:
        """Take back what one of two workers ran, to where it was saved."""
        search = created(store)
        trial, attempt = begun(store, search.studies[0].id)
        saved = [Point(step=30, seconds=1.0, loss=2.0)]
        store.record(trial, attempt, state=TrialState.PAUSED, step=30, points=saved,
                     checkpoint=("a.pt", "0" * 64))  # fmt: skip
        attempt = store.begin(trial, "w1")
        store.add_points(trial, attempt, [Point(step=60, seconds=2.0, loss=1.0)])
        other, held = begun(store, search.studies[0].id, "w2")
        same("what is taken back", store.reap(search.id, worker="w1"), [trial])
        found = store.trial(trial)
        same("the trial", (found.state, found.step, found.checkpoint),
             (TrialState.PAUSED, 30, "a.pt"))  # fmt: skip
        same("its curve", store.curve(trial), tuple(saved))
        same("what w2 lost", store.beat(search.id, "w2", {other: held}).lost, frozenset())

    def test_a_command_reaches_every_worker(self, store: Store) -> None:
        """Tell a search to stop."""
        search = created(store)
        same("at first", store.beat(search.id, "w1", {}).command, Command.CONTINUE)
        store.tell("net", Command.STOP)
        same("then", store.beat(search.id, "w1", {}).command, Command.STOP)

    def test_changes_tell_only_of_what_is_new(self, store: Store) -> None:
        """Ask since a revision."""
        search = created(store)
        study = search.studies[0].id
        old = ended(store, study)
        before = store.changes(search.id)
        same("at first", [trial.id for trial in before.trials], [old.id])
        new, attempt = begun(store, study, "w2")
        store.add_points(new, attempt, [Point(step=3, seconds=1.0, loss=2.0)])
        found = store.changes(search.id, before.revision)
        same("then", [trial.id for trial in found.trials], [new])
        same("points", [point.step for point in found.curves[new]], [3])
        same("who runs it", [held.worker for held in found.held.values()], ["w2"])

    def test_a_token_is_known_by_its_text_until_it_is_over(self, store: Store) -> None:
        """Make one, use it, and take it back; and one that is over at once."""
        made, text = tokens.create(store, "gpus", Scope.WORK, search="net", days=1.0)
        same("what is known", tokens.check(store, text), made)
        same("with another secret", tokens.check(store, text[:-1] + "~"), Why.UNKNOWN)
        tokens.use(store, made)
        expect(tokens.listed(store)[0].used is not None, "its use was not noted")
        tokens.revoke(store, made.id)
        same("then", tokens.check(store, text), Why.REVOKED)
        _, brief = tokens.create(store, "brief", Scope.READ, days=1e-9)
        same("one that is over", tokens.check(store, brief), Why.EXPIRED)
        same("whether any is taken", tokens.any_taken(store), False)
        same("whether any was made", tokens.any_made(store), True)

    def test_what_was_written_is_there_after_closing(
        self, store: Store, study: int, open_store: Callable[[], Store]
    ) -> None:
        """Close, and open again."""
        ended(store, study, loss=0.5, points=curve(4))
        expected = (store.search("net"), store.trials(study), store.curves(study))
        store.close()
        with open_store() as again:
            found = (again.search("net"), again.trials(study), again.curves(study))
        same("what is there", found, expected)
