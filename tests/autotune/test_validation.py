"""Does what a search found hold in longer runs? The verdicts, from given losses."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import pytest
from scipy.stats import kendalltau, spearmanr

from autotune.results import comparison
from autotune.results.agreement import agreement
from autotune.results.tuned import tuned
from autotune.results.validation import NOT_TRIED, Holding
from autotune.studies import validations
from autotune.studies.records import Role, SearchState, TrialState
from autotune.studies.store import Store
from autotune.testing import sample
from autotune.testing.longer import ran, study, validated

LEVEL = [1.0, 1.1, 1.2]
BETTER = [0.5, 0.6, 0.71]
WORSE = [1.6, 1.5, 1.8]
MIXED = [0.9, 1.3, 1.1]
DIVERGED, FAILED = TrialState.DIVERGED, TrialState.FAILED


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "a.db"
    sample.make(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(database, tmp_path):
    shutil.copy(database, tmp_path / "a.db")
    with Store(f"sqlite:///{tmp_path}/a.db") as store:
        yield store


@pytest.mark.parametrize(
    ("losses", "holding", "said"),
    [
        ({"tuned": BETTER, "default": LEVEL, "adamw": WORSE}, "holds",
         "tuned adan beats its default by 0.4967 (95% interval 0.4823 to 0.5110); tuned adan beats "
         "tuned adamw by 1.0300 (95% interval 0.7501"),
        ({"tuned": LEVEL, "default": BETTER, "adamw": WORSE}, "does not hold",
         "tuned adan loses to its default by"),
        ({"tuned": BETTER, "default": LEVEL, "adamw": [0.4, 0.5, 0.62]}, "does not hold",
         "tuned adan beats its default by"),
        ({"tuned": LEVEL, "default": MIXED, "adamw": WORSE}, "cannot tell",
         "no significant difference between tuned adan and its default"),
        # The search said that it beats tuned AdamW: that is not seen here.
        ({"tuned": LEVEL, "default": WORSE, "adamw": MIXED}, "cannot tell",
         "tuned adan beats its default by"),
        ({"tuned": [0.5], "default": [1.0]}, "cannot tell", "one seed says nothing about"),
        ({"tuned": [0.5, DIVERGED], "default": LEVEL}, "does not hold",
         "tuned adan failed on 1 of 2 seeds (loss became NaN)"),
        ({"tuned": [0.5, FAILED], "default": LEVEL}, "cannot tell",
         "tuned adan failed on 1 of 2 seeds"),
        ({"tuned": BETTER, "default": [DIVERGED, DIVERGED]}, "holds",
         "tuned adan trains where its default did not (loss became NaN)"),
        ({"tuned": BETTER, "default": [FAILED, FAILED]}, "cannot tell",
         "tuned adan trains where its default did not"),
        ({"tuned": [0.5, 0.5], "default": [1.0, 1.0]}, "cannot tell",
         "tuned adan and its default have the same loss on every seed"),
        ({"tuned": [], "default": []}, "cannot tell", "tuned adan was not run yet"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_is_said_of_the_tuned_setting(store, losses, holding, said):
    found = validated(store, losses)
    assert found.holding == holding
    (sentence,) = found.sentences
    assert sentence.startswith(f"adan {holding} at 5x (by r): {said}")


def test_an_advantage_that_the_search_did_not_claim_need_not_be_there(store):
    for judged in store.trials(study(store.search("resnet-mini"), "adamw").id, Role.JUDGE):
        with store.writing() as connection:
            connection.exec_driver_sql(
                "UPDATE autotune_trials SET loss = ? WHERE id = ?", (1.27, judged.id)
            )
    found = validated(store, {"tuned": BETTER, "default": WORSE, "adamw": [0.5, 0.61, 0.7]})
    assert found.holding is Holding.HOLDS
    assert "no significant difference between tuned adan and tuned adamw" in found.sentences[0]


def test_adamw_is_compared_with_its_default_alone(store):
    found = validated(store, {"tuned": BETTER, "default": LEVEL}, optimizer="adamw")
    assert found.holding is Holding.HOLDS
    assert found.outcomes[0].reference is None


def test_several_sets_of_rules_each_need_a_surer_interval(store):
    near = [0.9, 1.02, 1.05]  # better by 0.1, 0.08 and 0.15: sure enough of one, not of three
    one = validated(store, {"tuned": near, "default": LEVEL})
    sets = {"tuned 0": near, "tuned 1": WORSE, "tuned 2": BETTER, "default": LEVEL}
    three = validated(store, sets, rules=(("a",), ("b",), ()))
    assert one.holding is Holding.HOLDS
    words = [outcome.holding for outcome in three.outcomes]
    assert words == [Holding.UNKNOWN, Holding.LOST, Holding.HOLDS]
    assert three.holding is Holding.HOLDS
    assert "(98.3% interval" in three.sentences[0]
    assert three.sentences[2].startswith("adan holds at 5x (by no rule): ")


def test_a_set_of_rules_that_left_the_race_says_so(store):
    losses = {"tuned 0": WORSE[:2], "tuned 1": BETTER, "default": LEVEL}
    found = validated(store, losses, rules=(("a",), ("b",)))
    left = "; it left the race after 2 seeds, clearly behind another set of rules"
    assert [text.endswith(left) for text in found.sentences] == [True, False]
    going = validated(store, losses, rules=(("a",), ("b",)), state=SearchState.INTERRUPTED)
    assert left not in going.sentences[0]


def test_nothing_learned_is_no_verdict(store):
    with store.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE autotune_searches SET task = json_set(task, '$.constant_loss', 0.6)"
        )
    found = validated(store, {"tuned": BETTER, "default": LEVEL})
    assert found.holding is Holding.UNKNOWN
    assert "nothing was learned: its loss of 0.6033 is not clearly below" in found.sentences[0]


def test_a_validation_of_an_earlier_setting_says_so(store):
    validated(store, {"tuned": BETTER, "default": LEVEL})
    own = study(store.search("resnet-mini"), "adan")
    before = store.recommendation(own.id)["source"]
    assert tuned(store, "resnet-mini", "adan").longer[0].startswith("adan holds at 5x")
    assert tuned(store, "resnet-mini", "adan", "default").longer == ()
    store.save_recommendation(own.id, {"source": 1 if before != 1 else 5})
    (found,) = comparison.load(store, "resnet-mini").validations
    assert not found.latest
    assert found.sentences[0].endswith(f"(of an earlier setting, trial {before})")
    assert NOT_TRIED not in found.sentences


def test_what_is_not_finished_says_so(store):
    found = validated(store, {"tuned": BETTER, "default": LEVEL}, state=SearchState.INTERRUPTED)
    assert found.sentences[0].endswith("(not finished)")


def test_settings_are_ranked_as_far_as_they_ran(store):
    pairs = [(1.0, 0.9), (1.1, 0.95), (1.2, DIVERGED), (1.3, 0.99), (1.4, 0.97), (1.5, 1.3)]
    found = validated(store, {"tuned": BETTER, "default": LEVEL}, ranked=pairs)
    long = [0.9, 0.95, math.inf, 0.99, 0.97, 1.3]
    expected = kendalltau([proxy for proxy, _ in pairs], long).statistic
    assert found.agreement.kendall.value == pytest.approx(expected)
    assert found.sentences[1].startswith(
        "adan, over 6 settings, the order in the search and in the longer run agree with "
        "Kendall's tau +0.47 (95% interval -"
    )


def test_rank_correlations_are_scipy_s_with_ties():
    short, long = [1.0, 2.0, 2.0, 3.0, 4.0, 5.0], [1.0, 3.0, 2.0, 2.0, 9.0, 4.0]
    found = agreement(short, long)
    assert found.kendall.value == pytest.approx(kendalltau(short, long).statistic)
    assert found.spearman.value == pytest.approx(spearmanr(short, long).statistic)
    assert found.kendall.low < found.kendall.value < found.kendall.high
    assert agreement(short, long) == found


def test_more_settings_give_a_narrower_interval():
    def width(copies):
        short = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] * copies
        long = [2.0, 1.0, 3.0, 5.0, 4.0, 6.0] * copies
        short = [value + 0.001 * place for place, value in enumerate(short)]
        found = agreement(short, long)
        return found.kendall.high - found.kendall.low

    assert width(6) < width(1) / 1.5


def test_an_order_that_every_draw_has_gives_no_interval():
    found = agreement([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    assert str(found.kendall) == "+1.00 (the same in every draw, so no interval)"


@pytest.mark.parametrize("short", [[1.0, 2.0, 3.0], [1.0] * 5], ids=["few", "equal"])
def test_too_few_or_equal_losses_have_no_order(short):
    assert agreement(short, [float(place) for place in range(len(short))]) is None


def test_plans_come_back_as_they_were(store):
    found = validated(store, {"tuned": BETTER, "default": LEVEL, "adamw": WORSE}, rules=((),))
    (record,) = validations.of(store, store.search("resnet-mini").id)
    assert replace(record.plan, doubts=("a",)) == validations.plan_of(
        replace(record.plan, doubts=("a",)).as_data()
    )
    assert found.outcomes[0].rules == ()


def test_a_change_in_a_validation_changes_its_search_s_signature(store):
    before = store.signature("resnet-mini")
    validated(store, {"tuned": BETTER, "default": LEVEL})
    after = store.signature("resnet-mini")
    (record,) = validations.of(store, store.search("resnet-mini").id)
    own = record.plan.entrants[0]
    ran(store, study(record.stage, own.optimizer).id, own, 9, 0.4)
    assert len({before, after, store.signature("resnet-mini")}) == 3


def test_no_name_of_a_user_can_be_that_of_a_stage(store):
    search = store.search("resnet-mini")
    assert validations.stage_name(search, 3) == "resnet-mini/validation-3"
    long = replace(search, name="x" * 200)
    assert len(validations.stage_name(long, 999)) <= 200
