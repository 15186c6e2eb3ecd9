"""Two processes that train together end where one does that sees the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

if not torch.distributed.is_available():
    pytest.skip("this torch has no torch.distributed", allow_module_level=True)

SCRIPT = Path(__file__).parent / "ranks.py"


def started(rank, folder):
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    with (folder / f"errors{rank}").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT), str(rank), str(folder / "meeting")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **loopback},
        )


class Pair:
    """Two processes of ``ranks.py``, which answer the same question side by side."""

    def __init__(self, folder):
        self.folder = folder
        self.members = [started(rank, folder) for rank in range(2)]

    def ask(self, *question):
        for member in self.members:
            member.stdin.write(json.dumps(question) + "\n")
            member.stdin.flush()
        # One that waits in vain for the other ends after a minute, by its own limit.
        lines = [member.stdout.readline() for member in self.members]
        if not all(lines):
            pytest.fail("\n".join(path.read_text() for path in self.folder.glob("errors*")))
        return [json.loads(line) for line in lines]

    def end(self):
        for member in self.members:
            member.kill()
            member.wait()
            member.stdin.close()
            member.stdout.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    both = Pair(tmp_path_factory.mktemp("ranks"))
    yield both
    both.end()


def close(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        found, wanted = (torch.tensor(values, dtype=torch.float64) for values in (a, e))
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["adan", "adamw-win2", "lamb"])
def test_replicas_end_alike_and_as_one(pair, name):
    (first, expected), (second, _) = pair.ask("replicated", name)
    assert first == second
    close(first, expected)


def test_the_second_process_has_less_of_some_layers_and_nothing_of_others(pair):
    assert pair.ask("pieces") == [[10, 2, 3, 1], [5, 1, 0, 0]]


@pytest.mark.parametrize(
    "name",
    ["adan", "adam-win", "adamw-win2", "sgd-win", "lamb", "lamb-win", "lamb-win2", "stableadamw"],
)
def test_a_sharded_model_ends_as_a_whole_one(pair, name):
    for actual, expected in pair.ask("sharded", name, "torch"):
        close(actual, expected)


@pytest.mark.parametrize("name", ["adan", "adamw-win2", "lamb-win"])
def test_a_sharded_model_s_step_is_compiled_as_one_graph(pair, name):
    for actual, expected in pair.ask("compiled", name):
        close(actual, expected)


def test_pieces_are_stepped_by_numba_too(pair):
    pytest.importorskip("numba")
    for actual, expected in pair.ask("sharded", "lamb-win2", "numba"):
        close(actual, expected)


def test_norms_count_every_number_once_however_it_lies(pair):
    for actual, expected in pair.ask("laid_out"):
        close(actual, expected)


def test_quantiles_are_of_whole_tensors(pair):
    why = (
        "coord_clip needs all elements of a tensor, got pieces that several processes hold; "
        "leave it at 0, or clip by max_grad_norm instead"
    )
    for expected, actual, told in pair.ask("clipped"):
        close(actual, expected)
        assert told == why


def test_a_gradient_takes_its_parameters_placement(pair):
    for actual, expected in pair.ask("redistributed"):
        close(actual, expected)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_gradient_still_on_its_way_is_waited_for(pair, backend):
    pytest.importorskip("numba")
    for waiting, actual, expected in pair.ask("pending", backend):
        assert waiting
        close(actual, expected)


def test_a_gradient_is_cut_where_its_parameter_is(pair):
    whole = (
        "a gradient must be whole where its parameter is, got a DTensor; "
        "assign gradient.full_tensor()"
    )
    cut = (
        "a gradient of a DTensor must be cut as it is, into (2, 5) here, got (4, 5); "
        "distribute it with torch.distributed.tensor"
    )
    assert pair.ask("misfits") == [[whole, cut]] * 2


@pytest.mark.parametrize(
    ("name", "backend", "groups"),
    [("adan", "torch", False), ("adamw-win2", "numba", True), ("sgd", "torch", True)],
)
def test_flat_pieces_are_stepped_by_rules_without_norms(pair, name, backend, groups):
    for actual, expected in pair.ask("flattened", name, backend, groups):
        close(actual, expected)


def test_flat_pieces_are_clipped_by_the_norm_of_the_group(pair):
    more = "adan", "torch", True, "SHARD_GRAD_OP", 0.1, True
    for actual, expected in pair.ask("flattened", *more):
        close(actual, expected)


@pytest.mark.parametrize("name", ["adan", "lamb-win"])
def test_flat_parameters_that_are_not_cut_have_norms(pair, name):
    for actual, expected in pair.ask("flattened", name, "torch", False, "NO_SHARD", 0.1):
        close(actual, expected)


def test_norms_of_flat_pieces_are_refused_by_every_process(pair):
    way = "shard the model with torch.distributed.fsdp.fully_shard"
    each = "LAMB needs the norm of each parameter, got pieces of FSDP's flat parameters; " + way
    together = (
        "max_grad_norm=0.1 needs the norm of all gradients, got pieces of FSDP's flat ones; "
        f"{way}, set norm_group to the processes that hold the pieces, or set max_grad_norm=0 "
        "and call FSDP's clip_grad_norm_"
    )
    assert pair.ask("flattened", "lamb-win", "torch") == [each] * 2
    clipped = "torch", False, "FULL_SHARD", 0.1
    assert pair.ask("flattened", "adamw", *clipped) == [together] * 2


@pytest.mark.parametrize("orig", [True, False])
def test_flat_pieces_have_no_dimensions_to_group_by(pair, orig):
    groups = "split and layerwise need whole shapes"
    told = {"split": groups, "layerwise": groups, "lamb": "LAMB needs the norm of each parameter"}
    if not orig:
        del told["layerwise"]  # a flat parameter is in no block
    for found in pair.ask("unsplit", orig):
        assert told.items() <= found.items()


@pytest.mark.parametrize("halved", [False, True], ids=["", "halved"])
@pytest.mark.parametrize("name", ["adan", "adamw-win2", "sgd", "lamb"])
def test_a_sharded_run_is_resumed_bit_for_bit(pair, tmp_path, name, halved):
    for uninterrupted, resumed in pair.ask("resumed", name, str(tmp_path), halved):
        assert uninterrupted == resumed


@pytest.mark.parametrize("compact", [False, True], ids=["plain", "compact"])
def test_moved_pieces_begin_again_where_they_are(pair, compact):
    for actual, expected in pair.ask("begun_again", "adamw-win2", compact):
        close(actual, expected)


def test_a_sharded_run_goes_on_in_one_process(pair):
    (actual, expected), _ = pair.ask("gathered", "adamw-win2")
    close(actual, expected)


def test_state_of_a_whole_parameter_is_refused_by_a_cut_one(pair):
    sentence = (
        "the checkpoint's 'exp_avg' of parameter 0 is whole, "
        "the parameter sharded across processes; "
        "load it with torch.distributed.checkpoint.state_dict"
    )
    assert pair.ask("refused") == [sentence, sentence]


@pytest.mark.parametrize("name", ["adan", "lamb-win2"])
def test_zero_redundancy_clips_by_the_norm_of_all(pair, name):
    for actual, expected in pair.ask("redundant", name):
        for a, e in zip(actual, expected, strict=True):
            close(a, e)
