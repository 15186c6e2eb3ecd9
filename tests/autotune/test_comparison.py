"""What is said about a search, from trials alone."""

from datetime import UTC, datetime

import pytest

from autotune.results.comparison import compare
from autotune.studies.records import Role, SearchRecord, SearchState, StudyRecord, TrialState
from autotune.testing.trials import search_trial

WHEN = datetime(2026, 11, 21, tzinfo=UTC)


def search(*optimizers):
    studies = tuple(
        StudyRecord(id=i, search="s", optimizer=name, space={}) for i, name in enumerate(optimizers)
    )
    return SearchRecord(
        id=1, name="s", spec={}, task={}, state=SearchState.COMPLETE, seconds=1.0,
        created=WHEN, updated=WHEN, studies=studies,
    )  # fmt: skip


def trial(number, role, **fields):
    known = {"hyper": {"lr": number}, "target": 10, "step": 10, "state": TrialState.COMPLETE}
    return search_trial(number, id=number, study=0, role=role, **known | fields)


def judged(losses, source, start):
    return [
        trial(start + i, Role.JUDGE, source=source, seed=2 + i, loss=loss, hyper={"lr": source})
        for i, loss in enumerate(losses)
    ]


def study(default, tuned):
    found = [trial(0, Role.SEARCH, origin="preset:default"), trial(1, Role.SEARCH)]
    return found + judged(default, 0, 10) + judged(tuned, 1, 20)


def row(default, tuned, chosen=1):
    found = compare(search("adan"), {"adan": study(default, tuned)}, {"adan": chosen})
    return found.rows[0]


def test_tuned_and_default_are_compared_seed_by_seed():
    found = row([1.0, 2.0, 3.0], [0.5, 1.5, 2.5])
    assert found.difference.mean == -0.5
    assert found.verdict == (
        "tuned adan beats its default by 0.5000 (95% interval 0.5000 to 0.5000)"
    )


def test_noise_is_no_difference():
    found = row([1.0, 2.0, 3.0], [3.0, 1.0, 2.0])
    assert found.verdict.startswith("no significant difference between tuned adan and its default")


def test_a_default_that_won_is_its_own_tuned_setting():
    found = row([1.0, 2.0], [], chosen=0)
    assert not found.changed
    assert found.tuned == found.default
    assert found.verdict == "tuning adan found nothing better than its default"


def test_the_tuned_setting_names_who_proposed_it():
    assert row([1.0], [1.0]).tuned.origin == "trial 1 (sobol)"


def test_a_default_that_never_trains_is_said_so():
    trials = study([], [0.5, 0.6])
    for i in range(2):
        trials.append(
            trial(30 + i, Role.JUDGE, source=0, seed=2 + i, state=TrialState.DIVERGED, loss=None,
                  reason="training loss became nan at step 3")
        )  # fmt: skip
    found = compare(search("adan"), {"adan": trials}, {"adan": 1}).rows[0]
    assert found.verdict == (
        "tuned adan trains where its default did not (training loss became nan at step 3)"
    )


def test_before_judging_nothing_is_claimed():
    found = compare(search("adan"), {"adan": [trial(0, Role.SEARCH)]}, {})
    assert found.verdict == "nothing was judged yet"
    assert found.rows[0].verdict == "adan was not judged: no run yet"


def test_every_optimizer_meets_tuned_adamw_and_the_best_leads():
    trials = {"adan": study([3.0, 3.1], [1.0, 1.1]), "adamw": study([3.0, 3.1], [2.0, 2.1])}
    found = compare(search("adamw", "adan"), trials, {"adan": 1, "adamw": 1})
    assert [r.optimizer for r in found.rows] == ["adan", "adamw"]
    assert found.rows[0].reference_verdict.startswith("tuned adan beats tuned adamw by 1.0000")
    assert found.rows[1].reference_verdict is None
    assert found.verdict == ("adan has the lowest loss, significantly below every other optimizer")


def test_a_lead_within_noise_is_named_one():
    trials = {"adan": study([3.0, 3.1], [1.0, 2.0]), "adamw": study([3.0, 3.1], [2.1, 1.0])}
    found = compare(search("adamw", "adan"), trials, {"adan": 1, "adamw": 1})
    assert found.verdict == "adan has the lowest mean, not significantly below adamw"


def test_costs_and_mishaps_are_counted():
    trials = [
        trial(0, Role.SEARCH),
        trial(1, Role.SEARCH, step=5, state=TrialState.STOPPED),
        trial(2, Role.SEARCH, step=0, state=TrialState.DIVERGED),
        trial(3, Role.SEARCH, step=0, state=TrialState.FAILED),
    ]
    found = compare(search("adan"), {"adan": trials}, {}).rows[0]
    assert (found.runs, found.trials, found.diverged, found.failed) == (1.5, 4, 1, 1)


def test_a_tuned_setting_that_failed_while_judged_is_not_better():
    trials = study([1.0, 2.0, 3.0], [0.1, 0.2])
    trials.append(
        trial(
            40, Role.JUDGE, source=1, seed=4, state=TrialState.DIVERGED, loss=None,
            reason="training loss became nan at step 3",
        )
    )  # fmt: skip
    others = study([5.0, 5.0, 5.0], [4.0, 4.0, 4.0])
    found = compare(
        search("adan", "adamw"), {"adan": trials, "adamw": others}, {"adan": 1, "adamw": 1}
    )
    assert [row.optimizer for row in found.rows] == ["adamw", "adan"]
    assert found.rows[1].verdict == (
        "tuned adan failed on 1 of 3 seeds (training loss became nan at step 3), "
        "so it is not better than its default"
    )


def searched(count, losses):
    """Return a study whose search tried so many settings, judged on these losses."""
    tried = [trial(n, Role.SEARCH) for n in range(count)]
    return tried + judged([9.0] * len(losses), 0, 100) + judged(losses, 1, 200)


def test_no_difference_is_claimed_where_the_searches_differed():
    trials = {"adan": searched(14, [1.0, 1.1]), "adamw": searched(3, [2.0, 2.1])}
    found = compare(search("adamw", "adan"), trials, {"adan": 1, "adamw": 1})
    assert found.verdict == (
        "adan has the lowest mean; nothing follows for adamw, searched unlike it: "
        "adan 14 settings in 14 full runs, adamw 3 settings in 3 full runs"
    )
    assert found.rows[0].reference_verdict == (
        "tuned adan and tuned adamw differ, but so did their searches: "
        "adan 14 settings in 14 full runs, adamw 3 settings in 3 full runs"
    )
    assert "significantly" not in " ".join(found.sentences)
    assert found.tried == (
        "tried: adan 14 settings in 14 full runs; adamw 3 settings in 3 full runs"
    )


def test_no_loss_to_the_reference_is_claimed_either():
    trials = {"adan": searched(3, [3.0, 3.1]), "adamw": searched(14, [2.0, 2.1])}
    found = compare(search("adamw", "adan"), trials, {"adan": 1, "adamw": 1})
    assert found.rows[1].reference_verdict.startswith("tuned adan and tuned adamw differ, but so")
    assert found.rows[1].against_reference.mean == pytest.approx(1.0)


def test_of_three_only_those_searched_alike_are_compared():
    trials = {
        "adan": searched(14, [1.0, 1.1, 1.2]),
        "adamw": searched(3, [2.0, 2.1, 2.2]),
        "lamb": searched(13, [1.1, 1.0, 1.25]),
        "sgd": searched(14, [4.0, 4.1, 4.2]),
    }
    found = compare(search(*trials), trials, dict.fromkeys(trials, 1))
    assert found.verdict == (
        "adan has the lowest mean, not significantly below lamb; nothing follows for adamw, "
        "searched unlike it: adan 14 settings in 14 full runs, adamw 3 settings in 3 full runs"
    )


def test_one_setting_and_none_are_told_plainly():
    found = compare(search("adan", "adamw"), {"adan": searched(1, []), "adamw": []}, {})
    assert found.tried == "tried: adan 1 setting in 1 full run"
    assert compare(search("adan"), {"adan": []}, {}).tried == ""


def test_seeds_that_make_no_difference_are_no_certainty():
    said = (
        "adan has the same loss on every seed, so nothing can be concluded: let the training's "
        "weights and batches follow the seed that it is given"
    )
    assert row([1.0, 1.0, 1.0], [0.5, 0.5, 0.5]).verdict == said
    assert row([1.0, 1.0, 1.0], [0.5, 0.5, 0.6]).verdict != said

    trials = {"adan": study([1.0, 1.0], [0.5, 0.5]), "adamw": study([2.0, 2.0], [1.5, 1.5])}
    found = compare(search("adan", "adamw"), trials, {"adan": 1, "adamw": 1})
    assert found.sentences == (said, said.replace("adan", "adamw"))


def test_settings_that_make_no_difference_are_told():
    """A loop that trains by an optimizer of its own measures the same whatever is given to it."""

    def ran(losses):
        found = [
            trial(number, Role.SEARCH, target=27, step=step, loss=loss)
            for number, (step, loss) in enumerate(losses)
        ]
        return found + judged([3.1, 3.3, 3.2], 0, 10)

    same, other = [(9, 4.0), (9, 4.0), (27, 3.0), (27, 3.0)], [(9, 4.0), (9, 4.1)]
    [deaf] = compare(search("adan"), {"adan": ran(same)}, {"adan": 0}).rows
    assert deaf.verdict.startswith("every setting of adan has the same loss on the same seed")
    [heard] = compare(search("adan"), {"adan": ran(other)}, {"adan": 0}).rows
    assert heard.verdict == "tuning adan found nothing better than its default"
    both = {"adan": ran(same), "adamw": ran(same)}
    found = compare(search("adan", "adamw"), both, {"adan": 0, "adamw": 0})
    assert all("so nothing can be concluded" in said for said in found.sentences)
