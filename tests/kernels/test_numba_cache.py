"""Compiled loops on disk: found by what they were made from, and by nobody else's leave."""

import logging
import os
import resource
from importlib.util import module_from_spec, spec_from_file_location
from inspect import getsource
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
import torch

from autotune.kernels.lang import jit
from autotune.kernels.rule import Part, Rule, Update
from autotune.kernels.rules.decay import DESCENT
from autotune.optimizers import create
from autotune.testing.forked import Forked

cache = pytest.importorskip("autotune.kernels.numba.cache")
numba_step = pytest.importorskip("autotune.kernels.numba.step")
config = pytest.importorskip("numba.core.config")

SCALED = "from autotune.kernels.lang import jit\n\n@jit\ndef scaled(p, g, state, scalars):\n"

PROCESS = """
import sys
import torch
from numba.core import config
from autotune.optimizers import create

{end}
config.CACHE_DIR = sys.argv[1]
sys.stdout.write(end(*sys.argv[2:]))
"""


@jit
def halved(p, g, state, scalars):
    return 0.5 * g, state


HALVED = Rule(direction=Part(fn=halved), application=DESCENT)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder for loops, and no loop in memory."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    numba_step._compiled.cache_clear()
    yield tmp_path / "cache" / "autotune"
    numba_step._compiled.cache_clear()


def stepped(rule=HALVED):
    """Take a step of ones; return where it ends, and whether its loop was found on disk."""
    numba_step._compiled.cache_clear()
    p, g = torch.ones(5), torch.full((5,), 2.0)
    numba_step.step(rule, [Update(p, g, (), (1.0,))], None)
    loop = numba_step._compiled(rule, torch.float32, (torch.float32,) * 2)
    return p, sum(loop.stats.cache_hits.values()) == 1


def scaled(path, body):
    """Return the rule that a file has for a direction, after writing it there."""
    path.write_text(SCALED + f"    return {body}, state\n", encoding="utf-8")
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return Rule(direction=Part(fn=module.scaled), application=DESCENT)


def test_a_loop_is_compiled_once_and_then_found():
    compiled, first = stepped()
    found, again = stepped()
    assert (first, again) == (False, True)
    assert torch.equal(compiled, found)


def test_a_rule_that_was_edited_is_compiled_anew(tmp_path):
    path = tmp_path / "own.py"
    ends = [float(stepped(scaled(path, body))[0][0]) for body in ("g", "3.0 * g", "g * g")]
    assert ends == [-1.0, -5.0, -3.0]


def test_a_rule_called_by_another_counts_as_part_of_it(tmp_path):
    known = []
    for factor in ("2.0", "3.0"):
        inner = f"def inner(g):\n    return {factor} * g\n\n@jit\n"
        text = SCALED.replace("@jit\n", "@jit\n" + inner) + "    return inner(g), state\n"
        names = {}
        exec(text, names)
        known.append(cache.known(Rule(direction=Part(fn=names["scaled"]), application=DESCENT)))
    assert known[0] != known[1]


@pytest.mark.parametrize("source", ["rules/ema.py", "numba/memory.py", "lang.py"])
def test_the_sources_of_every_folder_of_kernels_count(source, tmp_path, monkeypatch):
    kernels = Path(cache.__file__).parents[1]
    copytree(kernels, tmp_path / "kernels", ignore=ignore_patterns("__pycache__"))
    before = cache._sources()
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "kernels/numba/cache.py"))
    assert cache._sources() == before
    with (tmp_path / "kernels" / source).open("a", encoding="utf-8") as file:
        file.write("# edited")
    assert cache._sources() != before


@pytest.mark.parametrize("setting", ["NUMBA_OPT", "NUMBA_CPU_FEATURES"])
def test_settings_of_the_compiler_count(setting, monkeypatch):
    before = cache.known(HALVED)
    monkeypatch.setenv(setting, "1")
    cache._surroundings.cache_clear()
    try:
        assert cache.known(HALVED) != before
    finally:
        monkeypatch.undo()
        cache._surroundings.cache_clear()


@pytest.mark.parametrize("harm", [b"", b"no loop at all", None], ids=["empty", "other", "cut"])
def test_a_damaged_file_is_compiled_and_written_again(harm, folder):
    expected, _ = stepped()
    [path] = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if harm is None else harm)
    actual, found = stepped()
    assert not found
    assert torch.equal(actual, expected)
    assert stepped()[1]


def test_what_cannot_be_unpickled_is_compiled_again(folder):
    stepped()
    [path] = folder.iterdir()
    content = b"\x80\x05not a pickle"
    path.write_bytes(cache.hashlib.sha256(content).digest() + content)
    assert not stepped()[1]


def test_without_a_folder_loops_are_compiled_in_memory(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "file").touch()
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "file"))
    assert torch.isfinite(stepped()[0]).all()
    assert "compiled loops are not kept on disk" in caplog.text


def test_without_a_home_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "~")  # what is left of a home that nobody knows
    assert torch.isfinite(stepped()[0]).all()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_nothing(folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        stepped()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(folder.iterdir()) == []


def test_a_new_folder_is_closed_to_others(folder):
    stepped()
    [path] = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_folder_open_to_others_is_not_used(folder, caplog):
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    cache._refuse.cache_clear()
    assert [stepped()[1] for _ in range(2)] == [False, False]
    assert list(folder.iterdir()) == []
    sentence = f"{folder} is not used for compiled loops: it must be yours, with mode 0700"
    assert [record.getMessage() for record in caplog.records] == [sentence]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_someone_elses_is_not_read(folder):
    stepped()
    [path] = folder.iterdir()
    os.chown(path, 12345, -1)
    assert not stepped()[1]


def test_a_file_others_may_write_is_not_read(folder):
    stepped()
    [path] = folder.iterdir()
    path.chmod(0o666)
    assert not stepped()[1]


def test_the_oldest_loops_make_room(folder, monkeypatch):
    monkeypatch.setattr(cache, "_KEPT", 2)
    stepped()
    [first] = folder.iterdir()
    os.utime(first, (0, 0))
    for direction in ("g", "2.0 * g"):
        stepped(scaled(folder.parent / "own.py", direction))
    assert len(list(folder.iterdir())) == 2
    assert not first.exists()


def end(*names):
    p = torch.nn.Parameter(torch.ones(5))
    p.grad = torch.ones(5)
    for name in names:
        create(name, [p], lr=0.1, weight_decay=0.1, backend="numba").step()
    return str(p.tolist())


def process(folder, *names):
    return Forked(str(folder), *names, script=PROCESS.format(end=getsource(end)))


def test_processes_share_a_folder_and_mix_what_is_found_with_what_is_compiled(folder):
    ends = {each.communicate()[0] for each in [process(folder.parent, "adan") for _ in range(2)]}
    [path] = folder.iterdir()
    written = path.stat().st_ino
    # A compiler counts its functions: in another order they have other numbers.
    mixed = process(folder.parent, "sgd", "adan").communicate()[0]
    assert path.stat().st_ino == written
    assert ends == {end("adan")}
    assert mixed == end("sgd", "adan")
