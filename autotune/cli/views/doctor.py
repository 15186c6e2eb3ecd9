"""What ``autotune doctor`` found, as values and as text."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.search.lock import folder_of
from autotune.search.stored import flag, opened
from autotune.studies import urls
from autotune.studies.doctor import Doctor, Finding
from autotune.studies.errors import StorageError
from autotune.studies.store import Store

SICK = StorageError.exit_code


def findings(storage: str | None, *, fix: bool) -> list[Finding]:
    """Examine a database; one that needs no mending is only read."""
    if not fix:
        with opened(storage) as store:
            return _examine(store, fix=False)
    with opened(storage):  # refuses one that is not there, or not ours, before it is changed
        pass
    with Store(urls.resolve(storage)) as store:
        return _examine(store, fix=True)


def _examine(store: Store, *, fix: bool) -> list[Finding]:
    folders = {each.name: folder_of(store.url, each.name) for each in store.searches()}
    return Doctor(store, folders, fix=fix).examine()


def text(found: Sequence[Finding], storage: str | None, *, fix: bool) -> str:
    """Write the findings, one a line, and how to mend them."""
    if not found:
        return f"nothing is wrong with {urls.mask(urls.resolve(storage))}"
    lines = [f"{_who(each)}{each.text}; {_what(each, fix=fix)}" for each in found]
    if not fix and any(each.mends for each in found):
        lines.append(f"mend them with: autotune doctor --fix{flag(storage)}")
    return "\n".join(lines)


def _who(finding: Finding) -> str:
    return f"{finding.search}: " if finding.search else ""


def _what(finding: Finding, *, fix: bool) -> str:
    if finding.mends is None:
        return "nothing here can mend it"
    return f"mended: {finding.mends}" if fix else f"--fix {finding.mends}"
