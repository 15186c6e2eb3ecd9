"""Weights & Biases: a search as a group of runs, one for each trial and one for its verdict."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from autotune.integrations.runs import BAD, Found, Run, Verdict, trials, verdict

if TYPE_CHECKING:
    from wandb import Settings

__all__ = ["log"]

Mode = Literal["online", "offline", "disabled"]


def log(
    found: Found,
    *,
    project: str = "autotune",
    entity: str | None = None,
    mode: Mode | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> int:
    """Write a search and its trials that ended to W&B; called again, it updates the same runs.

    A run has its setting as its configuration, its measurements by step, and how it ended as its
    summary. Nothing else is sent: no code, no console, no facts of the machine. Error reports to
    W&B are turned off, unless the process has imported wandb before.

    Args:
        found: What ``autotune.tune`` or ``autotune.load`` returned.
        project: Of W&B.
        entity: User or team; None is W&B's own choice.
        mode: ``"offline"`` writes files that ``wandb sync`` sends later; None is W&B's own choice
            (``WANDB_MODE``). The key is W&B's own affair: ``wandb login`` or ``WANDB_API_KEY``.
        directory: Where files go; None is W&B's own choice (``WANDB_DIR``).

    Returns:
        How many runs were written.

    Example:
        >>> import autotune
        >>> from autotune.integrations.wandb import log
        >>> log(autotune.load("vit"), project="vit", mode="offline")  # doctest: +SKIP
        64
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it is read at the import
    whole = verdict(found)
    where: dict[str, Any] = {
        "project": project,
        "entity": entity,
        "mode": mode,
        "dir": None if directory is None else os.fspath(directory),
        "group": whole.name,
        "settings": _settings(),
        "reinit": "create_new",  # a run of the caller's own goes on
    }
    ended = [trial for trial in trials(found) if trial.ended is not None]
    for trial in ended:
        _trial(trial, where)
    _verdict(whole, where)
    return len(ended) + 1


def _settings() -> Settings:
    import wandb

    return wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        save_code=False,
        silent=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )


def _trial(trial: Run, where: dict[str, Any]) -> None:
    import wandb

    run = wandb.init(
        id=trial.key,
        name=trial.name,
        job_type=trial.stage,
        config=dict(trial.params),
        **where,
    )
    for step, measured in trial.points:
        run.log(dict(measured), step=step)
    run.summary.update({"state": trial.state.value, **trial.told})
    run.finish(exit_code=int(trial.state in BAD))


def _verdict(whole: Verdict, where: dict[str, Any]) -> None:
    import wandb

    run = wandb.init(
        id=whole.key,
        name=f"{whole.name} verdict",
        job_type="verdict",
        config=dict(whole.params),
        notes="\n".join(whole.sentences),
        **where,
    )
    run.summary.update(dict(whole.numbers))
    run.finish()
