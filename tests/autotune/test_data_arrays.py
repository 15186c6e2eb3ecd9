"""The user's images in ``.npz``, with labels or with boxes."""

import numpy as np
import pytest
import torch

from autotune.data import box_arrays, image_arrays
from autotune.errors import SpecError
from autotune.tasks.resolve import resolve

CHANCE = np.random.default_rng(0)
IMAGES = CHANCE.integers(256, size=(20, 8, 10, 3), dtype=np.uint8)
LABELS = np.arange(20) % 3


@pytest.fixture
def stored(tmp_path):
    def store(**arrays):
        np.savez(tmp_path / "images.npz", **arrays)
        return str(tmp_path / "images.npz")

    return store


def test_images_are_cut_to_squares_and_15_percent_validate(stored):
    data = image_arrays.load(stored(images=IMAGES, labels=LABELS), 8)
    [(held_out, labels)] = data.validation()
    assert (data.samples, tuple(held_out.shape), data.classes) == (17, (3, 3, 8, 8), 3)
    square = torch.from_numpy(IMAGES[:, :, 1:9]).permute(0, 3, 1, 2)
    shown = (held_out * 0.25 + 0.45) * 255
    for image, label in zip(shown, labels, strict=True):
        [place] = (square - image).abs().amax((1, 2, 3)).lt(0.01).nonzero()[0]
        assert label == LABELS[place]


def test_copies_of_an_image_stand_on_one_side(stored):
    twice = np.concatenate([IMAGES, IMAGES])
    data = image_arrays.load(stored(images=twice, labels=np.concatenate([LABELS] * 2)), 8)
    sides = (data.train.images, data.held_out.images)
    trained, measured = ({image.numpy().tobytes() for image in side} for side in sides)
    assert not trained & measured


@pytest.mark.parametrize("form", ["grey", "colours first", "fractions", "column of labels"])
def test_other_forms_of_images_are_read(stored, form):
    images = {
        "grey": IMAGES[..., 0],
        "colours first": IMAGES.transpose(0, 3, 1, 2),
        "fractions": IMAGES / 255,
        "column of labels": IMAGES,
    }[form]
    labels = LABELS[:, None] if form == "column of labels" else LABELS
    data = image_arrays.load(
        stored(x_train=images, y_train=labels, x_test=images[:5], y_test=labels[:5]), 4
    )
    assert (data.samples, len(data.held_out.labels)) == (20, 5)
    inputs, shown = data.batch(0, 0, 6)
    assert (tuple(inputs.shape), inputs.dtype, shown.dtype) == (
        (6, 3, 4, 4),
        torch.float32,
        torch.int64,
    )


def test_a_task_trains_on_a_file(stored):
    path = stored(images=IMAGES, labels=LABELS)
    task = resolve("mlp", data=path, batch_size=8)
    facts = task.facts()
    assert (facts["data"], facts["classes"], facts["train_size"]) == (path, 3, 17)
    assert torch.isfinite(task.start(0).loss(0))


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"pictures": IMAGES}, "must hold images and labels or x_train and y_train, got pictures"),
        (
            {"images": IMAGES.reshape(20, -1), "labels": LABELS},
            "must be images of shape (sample, height, width), with 1 or 3 colours last or first, "
            "got shape (20, 240)",
        ),
        (
            {"images": IMAGES.repeat(2, 3)[..., :5], "labels": LABELS},
            "must be images of shape (sample, height, width), with 1 or 3 colours last or first, "
            "got shape (20, 8, 10, 5)",
        ),
        (
            {"images": IMAGES.astype(int), "labels": LABELS},
            "must be uint8 or floats from 0 to 1, got int64",
        ),
        (
            {"images": IMAGES.astype(float), "labels": LABELS},
            "must be from 0 to 1 as floats, got 0 to 255",
        ),
        ({"images": IMAGES, "labels": LABELS[:5]}, "must be 20 numbers, one an image, got shape"),
        ({"images": IMAGES, "labels": LABELS / 2}, "must be whole numbers from 0, got float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, "must be whole numbers from 0, got -1"),
        ({"images": IMAGES, "labels": 0 * LABELS}, "must hold at least 2 classes to train on, got"),
        ({"images": IMAGES, "labels": 99 * LABELS}, "must count classes from 0, got 198 among 17"),
        ({"images": IMAGES, "labels": LABELS, "images_val": IMAGES}, "has images_val without"),
        (
            {"images": IMAGES, "labels": LABELS, "images_val": IMAGES, "labels_val": LABELS + 1},
            "has no image to train on",
        ),
        ({"images": IMAGES, "labels": LABELS.astype(object)}, "must be a .npz of numbers"),
    ],
)
def test_arrays_that_are_no_images_are_refused(stored, arrays, sentence):
    with pytest.raises(SpecError) as refused:
        image_arrays.load(stored(**arrays), 8)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_missing_or_none_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"^cannot read data .*nowhere\.npz: .*No such file"):
        image_arrays.load(str(tmp_path / "nowhere.npz"), 8)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(SpecError, match=r"^cannot read data .*text\.npz: must be a \.npz of num"):
        image_arrays.load(str(tmp_path / "text.npz"), 8)


def test_more_images_than_memory_holds_are_refused(stored, monkeypatch):
    monkeypatch.setattr(image_arrays, "LIMIT", 1000)
    with pytest.raises(SpecError, match=r"need 0 MiB at 8 by 8 pixels, at most 0 MiB are held"):
        image_arrays.load(stored(images=IMAGES, labels=LABELS), 8)


# Boxes.

SQUARES = IMAGES[:, :, :8]
KINDS = np.stack([LABELS, np.where(LABELS == 0, -1, LABELS)], 1)
BOXES = np.full((20, 2, 4), 0.5)


def test_images_with_boxes_are_read(stored):
    data = box_arrays.load(stored(images=SQUARES, labels=KINDS, boxes=BOXES), 16)
    images, labels, boxes = data.batch(0, 0, 4)
    assert (tuple(images.shape), tuple(labels.shape)) == ((4, 3, 16, 16), (4, 2))
    assert (data.classes, data.objects, data.samples) == (3, 2, 17)
    assert torch.equal(boxes[labels == -1], torch.zeros(int((labels == -1).sum()), 4))
    assert sum(len(part) for part, _, _ in data.validation()) == 3


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"boxes": None}, "must hold images, labels, boxes for boxes, got images, labels"),
        ({"images": IMAGES}, "must be squares, as boxes are fractions of a side, got 8 by 10"),
        ({"labels": LABELS}, "must be whole numbers of shape (20, objects), -1 where there is"),
        ({"boxes": BOXES[..., :3]}, "must be floats of shape (20, 2, 4), got float64 of shape"),
        ({"boxes": 8 * BOXES}, "must be centre, width and height as fractions from 0 to 1"),
        ({"labels": 0 * KINDS - 1}, "shows no object to train on"),
    ],
)
def test_arrays_that_are_no_boxes_are_refused(stored, changed, sentence):
    given = {"images": SQUARES, "labels": KINDS, "boxes": BOXES} | changed
    with pytest.raises(SpecError) as refused:
        box_arrays.load(stored(**{k: v for k, v in given.items() if v is not None}), 8)
    assert sentence in str(refused.value)
