"""The loop over trials: whichever process or service has the search, it is asked and told alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from autotune.api.ranks import Ranks
from autotune.api.trial import Answers, Trial
from autotune.search.taken import Over, Source, Taken, Wait

PATIENCE = 20.0  # seconds between signs of life to ranks that wait for the first


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Trials one after another, for all ranks that train them together.

    Args:
        ranks: Who trains.
        owner: Whose trials they are; it lives as long as they do.
        source: Where they come from; None on all ranks but the first.
        finish: Called, on the first rank, where the search is over.
    """

    ranks: Ranks
    owner: object
    source: Source | None
    finish: Callable[[], object]

    def ask(self) -> Trial | None:
        """Return a trial to train; None where nothing is left to do."""
        while True:
            handed: list[Taken] = []  # on the first rank alone
            answer = self.ranks.agree(partial(self._ask, handed))
            if answer is None:
                return None
            if answer:
                taken = handed[0] if handed else None
                answers = Answers(
                    ranks=self.ranks, tuner=self.owner, source=self.source, taken=taken
                )
                return Trial(_answers=answers, **answer)

    def __iter__(self) -> Iterator[Trial]:
        while (trial := self.ask()) is not None:
            try:
                yield trial
            except GeneratorExit:  # the body raised or left the loop
                trial._answers.leave()
                raise
            trial._answers.end()

    def _ask(self, handed: list[Taken]) -> dict[str, Any] | None:
        """Return what a trial is made of; None: the search is over; nothing: ask again.

        ``handed``: where the trial itself goes.
        """
        if self.source is None:
            raise ValueError("only the first rank has the search")
        answer = self.source.ask(None if self.ranks.count == 1 else PATIENCE)
        if isinstance(answer, Over):
            self.finish()
            return None
        if isinstance(answer, Wait):
            return {}
        handed.append(answer)
        job = answer.job
        return {
            "optimizer": job.optimizer,
            "hyper": dict(job.setting.hyper),
            "warmup": job.setting.warmup,
            "seed": job.seed,
            "start": answer.start,
            "stop": job.stop,
            "steps": job.target,
            "evaluate": answer.evaluate,
            "number": answer.number,
            "state": answer.state,
        }
