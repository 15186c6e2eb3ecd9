"""A small finished search with every kind of trial in it, the same numbers each time."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import create_engine, select, update
from sqlalchemy.orm import Session

from autotune.studies.models import Search, Study, Trial
from autotune.studies.records import Point, Proposal, Role, SearchState, TrialState
from autotune.studies.setting import Setting
from autotune.studies.store import Store

NAME = "resnet-mini"
STEPS = 270
TASK = MappingProxyType(
    {
        "model": "resnet-mini",
        "data": "digits-pair",
        "data_hash": "3f1c9a7e",
        "steps": STEPS,
        "batch_size": 64,
        "parameters": 78042,
        "precision": "float32",
    }
)
SPACE = MappingProxyType(
    {
        "lr": ["log", 1e-4, 3e-2],
        "decayed": ["choice", ["yes", "no"]],
        "timescale": ["log", 30.0, 3e5],
        "one_minus_beta1": ["log", 5e-3, 0.2],
        "warmup": ["linear", 0.0, 0.2],
    }
)
DECAY = ("log", 1e-3, 0.1)  # range of the last beta's distance from one
REASONS = MappingProxyType(
    {
        TrialState.DIVERGED: "loss became NaN at step 19",
        TrialState.FAILED: "RuntimeError: DataLoader worker exited unexpectedly",
        TrialState.STOPPED: "the search ended while it was paused",
    }
)
# How each search trial ended, and after how many of 270 steps.
ENDS = (
    (TrialState.COMPLETE, 270),
    (TrialState.COMPLETE, 270),
    (TrialState.STOPPED, 30),
    (TrialState.DIVERGED, 19),
    (TrialState.STOPPED, 90),
    (TrialState.COMPLETE, 270),
    (TrialState.STOPPED, 30),
    (TrialState.FAILED, 0),
    (TrialState.COMPLETE, 270),
    (TrialState.STOPPED, 90),
    (TrialState.COMPLETE, 270),
    (TrialState.STOPPED, 30),
    (TrialState.STOPPED, 90),
    (TrialState.COMPLETE, 270),
)


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """How an optimizer's final loss follows from its setting."""

    floor: float
    lr: float  # the best one
    last: str = "one_minus_beta3"  # the decay that matters
    fixed: Mapping[str, Any] = field(default_factory=dict)  # other arguments of the optimizer


OPTIMIZERS = MappingProxyType(
    {
        "adamw": Landscape(floor=1.42, lr=4e-3, last="one_minus_beta2"),
        "adan": Landscape(floor=1.21, lr=8e-3),
        "adan-win": Landscape(
            floor=1.19,
            lr=6e-3,
            fixed={"acceleration": "win", "reckless_steps": [2.0, 8.0]},
        ),
    }
)


def make(url: str, name: str = NAME, *, landscapes: Mapping[str, Landscape] = OPTIMIZERS) -> None:
    """Fill the database at ``url`` with a search; its times are spread over 40 minutes."""
    spec = {"model": TASK["model"], "optimizers": list(landscapes), "seed": 0}
    facts = {"python": "3.11", "torch": "2.13", "adan-autotune": "0.1.0"}
    spaces = {name: {**SPACE, found.last: list(DECAY)} for name, found in landscapes.items()}
    with Store(url) as store:
        search = store.create_search(name, spec, dict(TASK), spaces, facts)
        for study in search.studies:
            _study(store, study.id, study.optimizer, landscapes[study.optimizer])
        store.update_search(name, state=SearchState.COMPLETE, add_seconds=2400.0)
    _spread(url, name)


def _study(store: Store, study: int, optimizer: str, landscape: Landscape) -> None:
    generator = random.Random(optimizer)
    drawn = [_params(generator, number, landscape) for number in range(len(ENDS))]
    finals = [_final(params, landscape) for params in drawn]
    settings = [_setting(params, landscape) for params in drawn]
    for number, end in enumerate(ENDS):
        proposal = Proposal(role=Role.SEARCH, origin=_origin(number), seed=0, **settings[number])
        _run(store, study, proposal, finals[number], end)
    done = [number for number, (state, _) in enumerate(ENDS) if state is TrialState.COMPLETE]
    ranked = sorted(done, key=finals.__getitem__)
    for number in ranked[:3]:
        again = {**settings[number], "source": number, "seed": 1}
        final = finals[number] + 0.03 * generator.random()
        _run(store, study, Proposal(role=Role.SELECT, origin="select", **again), final)
    store.save_recommendation(study, {"source": ranked[0]})
    for seed in (2, 3, 4):
        luck = 0.02 + 0.04 * (generator.random() - 0.5)
        for origin, number in (("default", 0), ("tuned", ranked[0])):
            again = {**settings[number], "source": number, "seed": seed}
            final = finals[number] + luck + 0.03 * (generator.random() - 0.5)
            _run(store, study, Proposal(role=Role.JUDGE, origin=origin, **again), final)


def _params(generator: random.Random, number: int, landscape: Landscape) -> dict[str, float | str]:
    drawn: dict[str, float | str] = {
        "lr": 10 ** (-4 + 2.4 * generator.random()),
        "decayed": "no" if generator.random() < 0.2 else "yes",
        "timescale": 10 ** (3 + 2 * generator.random()),
        "one_minus_beta1": 10 ** (-2.2 + 1.4 * generator.random()),
        landscape.last: 10 ** (-2.8 + 1.6 * generator.random()),
        "warmup": round(0.2 * generator.random(), 3),
    }
    if number == 0:
        drawn |= {"lr": 1e-3, "decayed": "yes", "timescale": 5e4, "warmup": 0.1}
        drawn |= {"one_minus_beta1": 0.02, landscape.last: 0.01}
    return drawn


def _origin(number: int) -> str:
    presets = ("preset:default", "preset:authors")
    return presets[number] if number < len(presets) else "sobol" if number < 6 else "gp"


def _setting(params: Mapping[str, float | str], landscape: Landscape) -> dict[str, Any]:
    """Return the fields of a proposal that follow from its coordinates."""
    rate, timescale = float(params["lr"]), float(params["timescale"])
    first, last = 1 - float(params["one_minus_beta1"]), 1 - float(params[landscape.last])
    hyper = {
        "lr": rate,
        "betas": [first, last] if landscape.last == "one_minus_beta2" else [first, 0.92, last],
        "weight_decay": 1 / (rate * timescale) if params["decayed"] == "yes" else 0.0,
        **landscape.fixed,
    }
    setting = Setting(params=dict(params), hyper=hyper, warmup=float(params["warmup"]))
    return {"setting": setting, "target": STEPS}


def _final(params: Mapping[str, float | str], landscape: Landscape) -> float:
    """Return the loss at full length: a valley in lr and beta3, a little decay helps."""
    rate = math.log10(float(params["lr"]) / landscape.lr)
    momentum = math.log10(float(params[landscape.last]) / 1e-2)
    decay = 0.03 if params["decayed"] == "no" else 0.0
    return landscape.floor + 0.35 * rate**2 + 0.05 * momentum**2 + decay


def _run(
    store: Store,
    study: int,
    proposal: Proposal,
    final: float,
    end: tuple[TrialState, int] = (TrialState.COMPLETE, STEPS),
) -> None:
    state, step = end
    trial = store.add_trial(study, proposal)
    attempt = store.begin(trial.id, "sample")
    points = tuple(_point(at, final, trial.number) for at in range(10, step + 1, 10))
    ended = state not in (TrialState.DIVERGED, TrialState.FAILED)
    store.record(
        trial.id,
        attempt,
        state=state,
        step=step,
        loss=points[-1].loss if ended else None,
        accuracy=points[-1].accuracy if ended else None,
        seconds=0.12 * step,
        reason=REASONS.get(state),
        points=points,
    )


def _point(step: int, final: float, number: int) -> Point:
    """Return a point on a curve that falls from ln 100 to the final loss, with a ripple."""
    rest = (STEPS - step) / STEPS
    ripple = 0.16 * math.sin(1.9 * step + number)
    loss = final + (math.log(100) - final) * rest**2.5 + ripple * rest
    return Point(
        step=step,
        seconds=0.12 * step,
        train_loss=loss - 0.1 + ripple,
        loss=loss,
        accuracy=math.exp(-loss),
    )


def _spread(url: str, name: str) -> None:
    """Date the trials as if the search had taken forty minutes of an ordinary day."""
    start = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    engine = create_engine(url)
    with Session(engine) as session, session.begin():
        query = select(Trial.id).join(Study).join(Search).where(Search.name == name)
        trials = session.scalars(query.order_by(Trial.number, Trial.id)).all()
        for place, trial in enumerate(trials):
            begun = start + timedelta(minutes=40 * place / len(trials))
            dates = {"created": begun, "updated": begun + timedelta(seconds=55)}
            session.execute(update(Trial).where(Trial.id == trial).values(**dates))
        dates = {"created": start, "updated": start + timedelta(minutes=40)}
        session.execute(update(Search).where(Search.name == name).values(**dates))
    engine.dispose()
