"""What every task has to do; a plugin subclasses ``TaskContract`` in its tests."""

from __future__ import annotations

import json
import math

import torch
from torch import Tensor
from torch.nn import Parameter

from autotune.devices import Device
from autotune.optimizers import create, defaults, presets
from autotune.tasks.base import Run, Task
from autotune.tasks.resolve import movable, placed
from autotune.tasks.training import Training
from autotune.testing.expect import expect

# Registered tasks in the sizes of papers, for a GPU: no test trains them.
LARGE = frozenset(
    {
        "bert-base",
        "convnext-tiny",
        "detr-r50",
        "gpt2",
        "gpt2-medium",
        "mae-base",
        "swin-tiny",
        "txl-base",
        "vit-base",
        "vit-small",
    }
)


def weights(run: Run) -> list[Tensor]:
    """Return a copy of everything the model holds."""
    return [value.detach().clone() for value in run.model.state_dict().values()]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    """Tell whether two lists of tensors agree in every bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class TaskContract:
    """Tests of a task; a subclass defines the fixture ``task``."""

    def test_facts_are_json_and_name_the_task(self, task: Task) -> None:
        """Facts survive JSON and hold what a comparison needs."""
        facts = dict(task.facts())
        expect(json.loads(json.dumps(facts)) == facts, "facts change when they become JSON")
        told = set(facts) | ({"batch_size"} if task.batch_size is None else set())
        missing = {"model", "data", "data_hash", "steps", "batch_size", "parameters"} - told
        expect(not missing, f"facts lack {sorted(missing)}")
        expect(facts["steps"] == task.steps > 0, "facts and the task differ in steps")

    def test_its_presets_are_the_authors_and_build(self, task: Task) -> None:
        """Build an optimizer with every setting that a task brings."""
        for optimizer, entries in getattr(task, "presets", {}).items():
            known = [preset["origin"] for preset in presets(optimizer)]
            for entry in entries:
                given = {**defaults(optimizer), **entry}
                known.append(given.pop("origin"))
                expect(known[-1].startswith("authors-"), f"{known[-1]} is not marked authors-")
                expect(0.0 <= given.pop("warmup") <= 0.5, f"{known[-1]} warms up too long")
                create(optimizer, [Parameter(torch.ones(2))], **given)
            expect(len(set(known)) == len(known), f"two presets share an origin: {known}")

    def test_equal_seeds_give_equal_weights_and_losses(self, task: Task) -> None:
        """Two runs of one seed agree in every bit, others' random numbers aside."""
        one = task.start(3)
        torch.rand(7)
        other = task.start(3)
        expect(equal(weights(one), weights(other)), "equal seeds gave different weights")
        expect(bool(one.loss(1) == other.loss(1)), "equal seeds gave different losses")

    def test_the_first_loss_is_finite_and_falls_under_sgd(self, task: Task) -> None:
        """A few plain steps on one batch lower its loss."""
        run = task.start(0)
        optimizer = torch.optim.SGD(run.model.parameters(), lr=0.01)
        losses = []
        for _ in range(3):
            loss = run.loss(0)
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        expect(all(map(math.isfinite, losses)), f"a loss is not finite: {losses}")
        expect(losses[-1] < losses[0], f"the loss does not fall: {losses}")

    def test_an_evaluation_leaves_no_trace(self, task: Task) -> None:
        """Weights, buffers, modes and random numbers are as before, and so is the next loss."""
        run = task.start(0)
        before, modes = weights(run), [module.training for module in run.model.modules()]
        chance = torch.get_rng_state()
        measured = run.evaluate()
        expect(math.isfinite(measured.loss), f"validation loss is {measured.loss}")
        expect(equal(before, weights(run)), "evaluation changed weights or buffers")
        expect(
            modes == [module.training for module in run.model.modules()],
            "evaluation changed the mode of a module",
        )
        expect(torch.equal(chance, torch.get_rng_state()), "evaluation drew random numbers")
        expect(run.evaluate() == measured, "a second evaluation measured something else")

    def test_a_step_on_a_device_needs_nothing_of_the_cpu_and_waits_for_nothing(
        self, task: Task
    ) -> None:
        """On a device without memory, a tensor of the CPU raises, and so does reading a number."""
        if not movable(task) or getattr(task, "waits", False):
            return
        run = placed(task, Device("meta")).start(0)
        expect(all(each.is_meta for each in run.model.state_dict().values()), "a weight stayed")
        optimizer = create("adan", run.model.parameters())
        for step in range(2):
            optimizer.zero_grad(set_to_none=True)
            loss = run.loss(step)
            expect(loss.is_meta, f"the loss is on {loss.device}")
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        for measured in run.unread() if isinstance(run, Training) else ():
            for value in (measured.loss, measured.accuracy):
                expect(value is None or isinstance(value, Tensor), "an evaluation was read early")

    def test_a_run_leaves_the_global_random_state_as_it_was(self, task: Task) -> None:
        """Starting and stepping draw from generators of their own."""
        chance = torch.get_rng_state()
        task.start(0).loss(0)
        expect(torch.equal(chance, torch.get_rng_state()), "a run moved torch's random state")
