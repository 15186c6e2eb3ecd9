"""Checkpoints: written whole or not at all, and believed only when they are the trial's own."""

import os
import zipfile

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from autotune.studies.atomic import checksum, part_of
from autotune.training import checkpoint

TRIAL = 7


def made(width=3, steps=0):
    torch.manual_seed(0)
    model = torch.nn.Linear(width, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        model(torch.ones(2, width)).sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trials" / "1-0.pt"


@pytest.fixture
def saved(path):
    model, optimizer = made(steps=5)
    checkpoint.save(path, model, optimizer, 5, TRIAL)
    return path


def test_a_saved_state_comes_back_with_its_step(saved):
    model, optimizer = made()
    assert checkpoint.restore(saved, model, optimizer, 5, TRIAL) == 5
    expected, _ = made(steps=5)
    assert torch.equal(model.weight, expected.weight)
    assert optimizer.state[model.weight]["step"] == 5


def test_a_state_of_an_earlier_step_is_taken(saved):
    assert checkpoint.restore(saved, *made(), 9, TRIAL) == 5


def test_a_state_of_a_later_step_is_not_taken(saved):
    assert checkpoint.restore(saved, *made(), 4, TRIAL) is None


def test_a_state_of_another_trial_is_not_taken(saved):
    assert checkpoint.restore(saved, *made(), 5, TRIAL + 1) is None


def test_a_whole_state_of_another_checksum_is_not_taken(saved):
    stored = checksum(saved)
    checkpoint.save(saved, *made(steps=4), 4, TRIAL)
    assert checkpoint.restore(saved, *made(), 5, TRIAL, stored) is None
    assert checkpoint.restore(saved, *made(), 5, TRIAL, checksum(saved)) == 4


def test_a_state_of_a_model_that_has_changed_is_not_taken(saved):
    assert checkpoint.restore(saved, *made(width=4), 5, TRIAL) is None


def test_a_missing_file_is_no_state(path):
    assert checkpoint.restore(path, *made(), 5, TRIAL) is None


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x02", b"PK"])
def test_a_file_that_is_no_checkpoint_is_no_state(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    assert checkpoint.restore(path, *made(), 5, TRIAL) is None


def test_a_file_cut_anywhere_is_no_state(saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 97):
        saved.write_bytes(whole[:length])
        assert checkpoint.restore(saved, *made(), 5, TRIAL) is None


@pytest.mark.parametrize("state", [[5], {"step": 5}, {"step": "five", "identity": TRIAL}])
def test_another_programs_torch_file_is_no_state(path, state):
    path.parent.mkdir()
    torch.save(state, path)
    assert checkpoint.restore(path, *made(), 5, TRIAL) is None


def test_a_file_that_would_run_code_is_no_state(path):
    path.parent.mkdir()
    torch.save({"step": 5, "identity": TRIAL, "model": os.system, "optimizer": {}}, path)
    assert checkpoint.restore(path, *made(), 5, TRIAL) is None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("width", [3, 1 << 20])
def test_a_disk_that_fills_midway_is_an_os_error_and_keeps_the_older_file(saved, width):
    before = saved.read_bytes()
    part_of(saved).symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device|was not written"):
        checkpoint.save(saved, *made(width=width, steps=1), 6, TRIAL)
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_a_state_that_pickle_refuses_is_an_os_error(path):
    class Odd(torch.nn.Linear):
        def get_extra_state(self):
            return lambda: None

        def set_extra_state(self, state):
            pass

    model = Odd(3, 1)
    with pytest.raises(OSError, match=r"1-0\.pt was not written: .*pickle"):
        checkpoint.save(path, model, torch.optim.SGD(model.parameters()), 5, TRIAL)


def test_a_disk_without_room_to_spare_is_an_os_error(path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SPARE_BYTES", 1e18)
    with pytest.raises(
        OSError, match=r"^less than 1000000000 GB would be left on the disk of .*1-0\.pt$"
    ):
        checkpoint.save(path, *made(), 5, TRIAL)


def test_the_size_is_that_of_weights_and_optimizer_state():
    assert checkpoint.size(*made()) == 4 * 4
    assert checkpoint.size(*made(steps=1)) == 4 * 4 * 3 + 2 * 4


def test_a_state_is_kept_where_training_again_takes_longer_than_the_disk():
    model, optimizer = made(width=1_000_000)
    assert checkpoint.worth_keeping(model, optimizer, 0.05)
    assert not checkpoint.worth_keeping(model, optimizer, 0.03)


def tagged(path, device):
    """Write a copy of a checkpoint whose tensors are said to be on another device."""
    copy = path.with_name(f"{device.partition(':')[0]}.pt")
    cpu, other = (
        b"X" + len(name).to_bytes(4, "little") + name.encode() for name in ("cpu", device)
    )
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            changed = data.replace(cpu, other) if entry.filename.endswith("data.pkl") else data
            target.writestr(entry.filename, changed)
    assert copy.read_bytes() != path.read_bytes()
    return copy


@pytest.mark.parametrize("device", ["cuda:0", "cuda:3", "mps"])
def test_a_state_that_was_saved_on_another_device_opens_bit_for_bit(saved, device):
    model, optimizer = made()
    assert checkpoint.restore(tagged(saved, device), model, optimizer, 5, TRIAL) == 5
    expected, known = made(steps=5)
    assert torch.equal(model.weight, expected.weight)
    moments = [
        each.state[net.weight]["exp_avg"] for net, each in ((model, optimizer), (expected, known))
    ]
    assert torch.equal(*moments)


def test_a_state_leaves_its_device_before_it_is_saved():
    with FakeTensorMode():
        state = {"weight": torch.empty(3, device="cuda"), "inner": {"bias": torch.empty(2)}, "n": 5}
        kept = checkpoint.own(state)
    assert {kept["weight"].device.type, kept["inner"]["bias"].device.type} == {"cpu"}
    assert kept["n"] == 5


def test_a_state_on_the_cpu_is_saved_as_it_is():
    weight = torch.ones(3)
    assert checkpoint.own({"weight": weight})["weight"] is weight
    assert checkpoint.own({"part": torch.ones(30)[:3]})["part"].untyped_storage().nbytes() == 12
