"""The user's folder of images, good and bad."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autotune.data import image_folder, sources
from autotune.data.digits_pair import Recipe
from autotune.errors import SpecError
from autotune.tasks.resolve import resolve


def _image(path, colour, seed, ending="png"):
    path.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 60, (20, 28, 3), dtype=np.uint8)
    Image.fromarray(noise + np.array(colour, dtype=np.uint8)).save(path / f"{seed}.{ending}")


@pytest.fixture
def folder(tmp_path):
    for seed in range(12):
        _image(tmp_path / "train" / "red", (150, 0, 0), seed)
        _image(tmp_path / "train" / "green", (0, 150, 0), 100 + seed, "jpg")
    return tmp_path


def _refusal(folder):
    with pytest.raises(SpecError) as refused:
        image_folder.load(str(folder), 16)
    return str(refused.value)


def test_classes_are_the_sorted_folders(folder):
    data = image_folder.load(str(folder), 16)
    assert data.class_names == ("green", "red")
    assert data.train.images.shape == (20, 3, 16, 16)
    greener = data.train.images[:, 1].float().mean((1, 2)) > data.train.images[:, 0].float().mean(
        (1, 2)
    )
    assert torch.equal(greener, data.train.labels == 0)


def test_without_val_a_share_of_each_class_is_held_out(folder):
    data = image_folder.load(str(folder), 16)
    assert [sum(file.label == label for file in data.held_out.files) for label in (0, 1)] == [2, 2]
    held = {file.sha256 for file in data.held_out.files}
    assert not held & {file.sha256 for file in data.train.files}


def test_copies_of_an_image_stay_on_one_side(folder):
    for path in list((folder / "train" / "red").iterdir()):
        path.with_name("copy-" + path.name).write_bytes(path.read_bytes())
    data = image_folder.load(str(folder), 16)
    held = {file.sha256 for file in data.held_out.files}
    assert not held & {file.sha256 for file in data.train.files}


def test_a_val_folder_is_the_validation_set(folder):
    _image(folder / "val" / "red", (150, 0, 0), 7000)
    data = image_folder.load(str(folder), 16)
    assert len(data.train.files) == 24
    assert [(file.path.parent.parent.name, file.label) for file in data.held_out.files] == [
        ("val", 1)
    ]


def test_the_hash_follows_content_and_not_place(folder, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy")
    for path in folder.rglob("*.*"):
        target = copy / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    before = image_folder.load(str(folder), 16).facts()
    same = image_folder.load(str(copy), 16).facts()
    _image(copy / "train" / "red", (150, 0, 0), 5)
    _image(copy / "train" / "red", (150, 0, 0), 99)
    image_folder.load.cache_clear()
    changed = image_folder.load(str(copy), 16).facts()
    assert before["data_hash"] == same["data_hash"] != changed["data_hash"]
    assert (changed["train_size"], changed["validation_size"]) == (21, 4)


def test_grey_and_transparent_and_turned_images_become_upright_rgb(tmp_path):
    for name, mode in (("a", "L"), ("b", "RGBA")):
        for side in ("train", "val"):
            (tmp_path / side / name).mkdir(parents=True)
            Image.new(mode, (9, 5)).save(tmp_path / side / name / "0.png")
    assert image_folder.load(str(tmp_path), 8).train.images.shape == (2, 3, 8, 8)


def test_at_most_so_many_held_out_images_are_measured_on(folder, monkeypatch):
    monkeypatch.setattr(image_folder, "VALIDATED", 3)
    data = image_folder.load(str(folder), 16)
    assert (len(data.held_out.files), len(data.train.files)) == (3, 20)


def test_a_missing_folder_is_refused(tmp_path):
    assert _refusal(tmp_path / "no") == f"data folder {tmp_path / 'no'} does not exist"


def test_an_empty_folder_is_refused(tmp_path):
    assert _refusal(tmp_path) == (
        f"data folder {tmp_path} has no folder train; expected train/<class>/<image>"
    )


def test_no_class_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    assert _refusal(tmp_path) == (
        f"data folder {tmp_path} must hold at least 2 classes in train, got none"
    )


def test_one_class_only_is_refused(tmp_path):
    _image(tmp_path / "train" / "red", (150, 0, 0), 0)
    assert _refusal(tmp_path) == (
        f"data folder {tmp_path} must hold at least 2 classes in train, got only 'red'"
    )


def test_a_class_without_images_is_refused(folder):
    (folder / "train" / "blue").mkdir()
    (folder / "train" / "blue" / "notes.txt").write_text("none yet")
    assert _refusal(folder) == (
        f"class folder {folder / 'train' / 'blue'} holds no image (.bmp, .jpeg, .jpg, .png, .webp)"
    )


def test_an_empty_val_is_refused(folder):
    (folder / "val").mkdir()
    assert _refusal(folder) == (
        f"data folder {folder / 'val'} holds no image (.bmp, .jpeg, .jpg, .png, .webp)"
    )


def test_a_class_only_in_val_is_refused(folder):
    _image(folder / "val" / "blue", (0, 0, 150), 0)
    assert _refusal(folder) == f"class 'blue' of {folder / 'val'} is not in {folder / 'train'}"


def test_a_class_of_one_image_needs_a_val_folder(folder):
    _image(folder / "train" / "blue", (0, 0, 150), 0)
    assert _refusal(folder) == (
        f"class 'blue' of {folder} has 1 image; without a folder val each class needs "
        "at least 2 different ones"
    )


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_corrupt_image_is_named(folder, damage):
    path = folder / "train" / "red" / "3.png"
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no image", "empty": b""}[damage])
    assert _refusal(folder) == f"cannot decode image {path}; repair or remove it"


def test_more_than_memory_may_hold_is_refused(folder, monkeypatch):
    monkeypatch.setattr(image_folder, "LIMIT", 1 << 13)
    assert _refusal(folder) == (
        f"the 24 images of {folder} need 0 MiB at 16 by 16 pixels, "
        "at most 0 MiB are held in memory; point at a part of them"
    )


@pytest.mark.parametrize("prefix", ["", "imagefolder:"])
def test_a_path_is_taken_with_and_without_its_kind(folder, prefix):
    data = sources.images(f"{prefix}{folder}", digits=Recipe(size=16))
    assert data.name == f"imagefolder:{folder}"


def test_a_relative_folder_is_found(folder, monkeypatch):
    monkeypatch.chdir(Path(folder).parent)
    assert sources.images(folder.name, digits=Recipe(size=16)).classes == 2


def test_a_model_learns_a_folder_of_two_colours(folder):
    run = resolve("resnet-mini", data=f"imagefolder:{folder}", batch_size=8).start(0)
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=3e-3)
    for step in range(12):
        optimizer.zero_grad()
        run.loss(step).backward()
        optimizer.step()
    assert run.evaluate().accuracy == 1.0
