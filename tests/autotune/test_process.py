"""How processes load their libraries."""

from __future__ import annotations

import gc
import sys
from types import ModuleType, SimpleNamespace

import click
import pytest

from autotune.cli.shared import group
from autotune.training import process


@pytest.fixture
def loads(monkeypatch):
    """A function that stands for loading a library, and what the collector was meanwhile."""
    seen = []

    def load(*_, **__):
        seen.append(gc.isenabled())
        monkeypatch.setitem(sys.modules, f"loaded{len(seen)}", ModuleType("loaded"))
        return SimpleNamespace(command=click.Command("worker"))

    return load, seen


def test_a_command_loads_without_looking_for_garbage(loads, monkeypatch):
    load, seen = loads
    monkeypatch.setattr(group, "import_module", load)
    frozen = gc.get_freeze_count()
    assert group.main.get_command(click.Context(group.main), "worker") is not None
    assert (seen, gc.isenabled()) == ([False], True)
    assert gc.get_freeze_count() > frozen


def test_a_worker_loads_without_looking_for_garbage(loads, monkeypatch):
    load, seen = loads
    monkeypatch.setattr("autotune.optimizers.create", load)
    monkeypatch.setattr(process, "single_threaded", lambda: None)  # this process is no worker
    frozen = gc.get_freeze_count()
    process.start_worker.__wrapped__()
    assert (seen, gc.isenabled()) == ([False], True)
    assert gc.get_freeze_count() > frozen


def test_where_nothing_is_loaded_garbage_is_found_as_before():
    frozen = gc.get_freeze_count()
    with process.loading():
        pass
    assert (gc.get_freeze_count(), gc.isenabled()) == (frozen, True)


def test_a_process_that_collects_by_itself_goes_on_so():
    gc.disable()
    try:
        with process.loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_library_that_cannot_be_loaded_leaves_the_collector_on():
    with pytest.raises(ImportError), process.loading():
        raise ImportError
    assert gc.isenabled()
