"""A real server on this machine, and two ranks of a process group that train its trials."""

from __future__ import annotations

import json
import runpy

from autotune.client import Client
from autotune.studies.records import Role, TrialState
from autotune.studies.store import Store
from autotune.testing.remote import BODY
from autotune.testing.victims import context

SCRIPT = """
import json
import math

import torch.distributed as dist

from autotune.client import Client
from autotune.errors import AutotuneError

dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
client = Client(address if rank == 0 else "http://nowhere:1", states=folder, patience=30)
seen, refused = [], []
for trial in client.trials("bowl"):
    going, step = True, trial.start
    try:
        trial.report(99, 0.5)
    except AutotuneError as error:
        refused.append(str(error))
    for step in trial.evaluate:
        own = (1 + rank) * abs(math.log10(trial.hyper["lr"] / 3e-3)) + 1 / step
        going = trial.report(step, math.nan if trial.number == 1 and rank else own)
        if not going:
            break
    trial.save({"rank": rank, "step": step})
    setting = [trial.number, trial.hyper["lr"], trial.seed]
    seen.append([*setting, trial.start, trial.state, step, going])
with open(f"{folder}/{rank}.json", "w") as file:
    json.dump([seen, refused], file)
dist.destroy_process_group()
"""


def test_two_ranks_train_the_same_trials_and_the_first_alone_talks(listening, url, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    address = f"http://127.0.0.1:{listening}"
    with Client(address) as client:
        client.begin("bowl", {**BODY, "budget": {"trials": 3}})
        shared = {"address": address, "folder": str(tmp_path)}
        ranks = [
            context().Process(
                target=runpy.run_path, args=(str(script), {**shared, "rank": rank}), daemon=True
            )
            for rank in range(2)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(60)
        verdict = client.recommendation("bowl", "adamw")["verdict"]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    seen, refused = first
    assert "trains until step 3 now" in refused[0]
    assert [state for *_, state, _, _ in seen if state] == [{"rank": 0, "step": 3}] * 2
    assert "adamw" in verdict
    with Store(url, read_only=True) as store:
        trials = store.trials(store.search("bowl").studies[0].id)
    assert [t.number for t in trials if t.state is TrialState.DIVERGED] == [1]
    losses = [t.loss for t in trials if t.role is Role.JUDGE]
    assert all(loss is not None for loss in losses)
