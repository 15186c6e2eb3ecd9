"""Count the full runs that the stages of a study take, before any of them runs."""

from __future__ import annotations

from autotune.errors import SpecError
from autotune.pruners.ladder import ETA, Ladder
from autotune.scheduler.policy import Policy

HALVING = "auto"  # our own pruner, the only one whose cost can be predicted
WHOLE = 16  # every 16th setting skips all rungs and runs to the end


def essential(policy: Policy) -> int:
    """Return how many settings are tried in any case: the default, and one for each finalist."""
    return policy.finalists + 1


def check_budget(policy: Policy) -> None:
    """Raise SpecError if the full runs cannot pay for trying, selecting and judging."""
    runs, least = policy.budget.runs, final_runs(policy) + essential(policy)
    if runs is not None and runs < least:
        raise SpecError(
            f"budget.runs must be at least {least} to choose among {policy.finalists} finalists "
            f"and judge on {policy.seeds} seeds, got {runs:g}; raise it or lower seeds and "
            "finalists"
        )


def final_runs(policy: Policy) -> int:
    """Return the full runs to select (finalists, default) and to judge (winner, default)."""
    return policy.finalists + 1 + 2 * policy.seeds


def search_runs(policy: Policy, trials: int, rungs: Ladder) -> float:
    """Return the full runs expected for ``trials`` settings; with other pruners, the most."""
    if policy.pruner != HALVING:
        return float(trials)
    target, done, total, count = rungs.steps[-1], 0, 0.0, float(trials)
    for step in rungs.steps[rungs.steps.index(rungs.first) :]:
        total += max(1.0, count) * (step - done) / target
        done, count = step, count / ETA
    return total + trials // WHOLE * (1 - rungs.first / target)
