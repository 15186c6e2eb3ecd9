"""Whether a command is told all that a search varies."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.arguments import template
from autotune.errors import SpecError
from autotune.space.spaces import Space
from autotune.studies.spec import SearchSpec


def check(spec: SearchSpec, spaces: Mapping[str, Space]) -> None:
    """Refuse a command whose words do not exist, or do not say what its trials differ in.

    Raises:
        UnknownName: A word or a form of arguments does not exist.
        SpecError: Something that is searched is said by no word.
    """
    if spec.command is None:
        return
    template.check(spec.command, {name: space.defaults for name, space in spaces.items()})
    for optimizer, space in spaces.items():
        unsaid = template.unsaid(spec.command, _varying(space))
        if unsaid:
            verb, which = ("is", "it") if len(unsaid) == 1 else ("are", "them")
            raise SpecError(
                f"{' and '.join(unsaid)} of {optimizer} {verb} searched, but no word of the "
                f"command says {which}; add {{args}}, {{json}} or "
                f"{' '.join(f'{{{name}}}' for name in unsaid)}, or fix {which} with --space FILE"
            )
    if len(spaces) > 1 and template.unsaid(spec.command, ["optimizer"]):
        raise SpecError(
            f"{' and '.join(spaces)} are compared, but no word of the command says which is "
            "meant; add {optimizer}, {args} or {json}"
        )


def _varying(space: Space) -> list[str]:
    """Return the arguments that differ between settings of a space, and the warm-up."""
    ends = [space.setting(space.at([unit] * len(space))) for unit in (0.0, 1.0)]
    known = {**ends[0].hyper, **ends[1].hyper}
    differing = [n for n in known if ends[0].hyper.get(n) != ends[1].hyper.get(n)]
    return [*differing, *["warmup"] * (ends[0].warmup != ends[1].warmup)]
