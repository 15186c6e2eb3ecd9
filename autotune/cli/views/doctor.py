"""The findings of ``autotune doctor``, as values and as text."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.search.lock import folder_of
from autotune.search.stored import flag, opened
from autotune.studies import urls
from autotune.studies.doctor import Doctor, Finding
from autotune.studies.errors import StorageError
from autotune.studies.store import Store

PROBLEMS = StorageError.exit_code


def findings(storage: str | None, *, fix: bool) -> list[Finding]:
    """Examine a database, and repair it with ``fix``; without, it is only read."""
    if not fix:
        with opened(storage) as store:
            return _examine(store, fix=False)
    with opened(
        storage
    ):  # refuses a missing database, or one of another program, before any change
        pass
    with Store(urls.resolve(storage)) as store:
        return _examine(store, fix=True)


def _examine(store: Store, *, fix: bool) -> list[Finding]:
    folders = {each.name: folder_of(store.url, each.name) for each in store.searches()}
    return Doctor(store, folders, fix=fix).examine()


def text(found: Sequence[Finding], storage: str | None, *, fix: bool) -> str:
    """Write each finding on a line, and how to repair them."""
    if not found:
        return f"nothing is wrong with {urls.mask(urls.resolve(storage))}"
    lines = [f"{_who(each)}{each.text}; {_what(each, fix=fix)}" for each in found]
    if not fix and any(each.mends for each in found):
        lines.append(f"repair with: autotune doctor --fix{flag(storage)}")
    return "\n".join(lines)


def _who(finding: Finding) -> str:
    return f"{finding.search}: " if finding.search else ""


def _what(finding: Finding, *, fix: bool) -> str:
    if finding.mends is None:
        return "this cannot be repaired here"
    return f"repaired: {finding.mends}" if fix else f"--fix {finding.mends}"
