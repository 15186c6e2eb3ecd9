"""Two processes that train one search's trials together, as ``torchrun`` would start them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

import autotune
from autotune.errors import AutotuneError
from autotune.testing.victims import context

COUNT = 2


def together(folder: Path) -> list[dict[str, Any]]:
    """Return what each rank saw of a search in a folder, its mistakes among it."""
    started = [
        context().Process(target=_rank, args=(rank, folder), daemon=True) for rank in range(COUNT)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(COUNT)]


def _rank(rank: int, folder: Path) -> None:
    where = f"file://{folder}/group"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=COUNT)
    try:
        seen = _seen(rank, f"{folder}/autotune.db")
        (folder / f"{rank}.json").write_text(json.dumps(seen))
    finally:
        dist.destroy_process_group()


def _seen(rank: int, storage: str) -> dict[str, Any]:
    begin = _beginner(storage)
    tuner = begin(data="one")
    seen: dict[str, Any] = {"trials": [], "refused": _mistakes(rank, tuner)}
    for trial in tuner:
        diverges = trial.number == 1 and rank == 1
        going, step = True, trial.start
        for step in trial.evaluate:
            own = (1 + rank) * abs(math.log10(trial.hyper["lr"] / 3e-3)) + 1 / step
            going = trial.report(step, math.nan if diverges else own)
            if not going:
                break
        trial.save({"rank": rank, "step": step})
        setting = [trial.optimizer, trial.number, trial.seed, trial.hyper["lr"]]
        seen["trials"].append([*setting, trial.start, trial.stop, trial.state, step, going])
    if rank == 0:
        seen["printed"] = repr(tuner.result)  # alone, as scripts do that print it
    seen["verdict"] = tuner.result.verdict
    seen["refused"].append(_sentence(lambda: begin(data="two")))
    return seen


def _beginner(storage: str) -> Callable[..., autotune.Tuner]:
    def begin(**given: Any) -> autotune.Tuner:
        limits: dict[str, Any] = {"steps": 27, "trials": 4, "seeds": 2, "progress": "off"}
        return autotune.Tuner(["adamw"], name="ranks", storage=storage, **limits, **given)

    return begin


def _mistakes(rank: int, tuner: autotune.Tuner) -> list[str]:
    """Return the sentences of mistakes, some of which only one rank makes; left as it was."""
    trial = tuner.ask()
    if trial is None:
        raise ValueError("a search that begins has trials")
    told = [
        _sentence(lambda: trial.report(999, 0.5)),
        _sentence(lambda: trial.report(1, "low" if rank else 0.5)),
        _sentence(lambda: trial.report(1, None)),
        _sentence(lambda: tuner.tell(trial, {1: 0.5})),
    ]
    # The others give the loss that this rank does not know.
    if not trial.report(trial.evaluate[0], None if rank else 0.75):
        raise ValueError("the trial is to go on")
    tuner.fail(trial, "a mistake" if rank else "made on purpose")
    return told


def _sentence(call: Callable[[], Any]) -> str:
    try:
        call()
    except AutotuneError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"
