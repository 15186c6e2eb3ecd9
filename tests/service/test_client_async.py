"""The client for ``async`` code: the same trials; what is cancelled is given back."""

from __future__ import annotations

import asyncio

import pytest

from autotune.client import AsyncClient
from autotune.studies.records import TrialState
from autotune.studies.store import Store
from autotune.testing.remote import lease, loss_of


@pytest.fixture
def dial(begun, way, tmp_path):
    def make():
        address = str(begun.base_url)
        return AsyncClient(address, transport=way, states=tmp_path / "states")

    return make


def states(url):
    with Store(url, read_only=True) as store:
        (study,) = store.search("bowl").studies
        return [trial.state for trial in store.trials(study.id)]


async def work(dial, name, seen):
    async with dial() as client:
        async for trial in client.trials("bowl", worker=name):
            seen.append((name, trial.number, trial.start))
            for step in trial.evaluate:
                going = await trial.report(step, loss_of(trial.hyper, trial.seed, step))
                await trial.save({"step": step})
                if not going:
                    break


def test_two_loops_train_one_search_side_by_side(dial, url):
    seen = []

    async def both():
        await asyncio.wait_for(asyncio.gather(*(work(dial, name, seen) for name in "ab")), 60)

    asyncio.run(both())
    assert {name for name, *_ in seen} == {"a", "b"}
    assert len(states(url)) == 8
    assert set(states(url)) == {TrialState.COMPLETE}
    assert any(start == 3 for *_, start in seen)


def test_an_exception_in_an_async_with_block_ends_the_trial_alone(dial, url):
    async def fails():
        async for trial in dial().trials("bowl"):
            if trial.number:
                return
            async with trial:
                raise ZeroDivisionError("division by zero")

    asyncio.run(fails())
    assert states(url)[0] is TrialState.FAILED


def test_a_task_that_is_cancelled_gives_its_trial_back(dial, begun):
    async def trains(held):
        async for trial in dial().trials("bowl"):
            held.set_result(trial.number)
            await asyncio.sleep(60)

    async def cancels():
        held = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(trains(held))
        assert await held == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancels())
    found = lease(begun, "other")
    assert (found["trial"], found["attempt"]) == (0, 2)
