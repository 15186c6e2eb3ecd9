"""Embedded data: what is trained on never validates, and batches follow seed and step."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autotune.data import digits_pair, sources, stdlib_lm
from autotune.data.digits_pair import TRAINED, DigitsPair, Recipe, compose, digits
from autotune.data.order import indices
from autotune.data.seeds import generator, seeded
from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.seeds import wide

PAIRS = DigitsPair(recipe=Recipe())
TEXT = stdlib_lm.StdlibLM()


def test_an_epoch_holds_every_sample_once_whatever_the_batch_size():
    seen = torch.cat([indices(0, step, 7, 100) for step in range(100)])
    for epoch in seen.split(100):
        assert sorted(epoch.tolist()) == list(range(100))


def test_a_batch_larger_than_the_data_spans_epochs():
    assert (
        indices(0, 0, 250, 100).bincount().tolist() != indices(0, 1, 250, 100).bincount().tolist()
    )
    assert indices(0, 0, 250, 100).bincount().min() == 2


def test_the_order_of_another_epoch_and_another_seed_differs():
    first = indices(0, 0, 100, 100)
    assert not torch.equal(first, indices(0, 1, 100, 100))
    assert not torch.equal(first, indices(1, 0, 100, 100))


def test_derived_seeds_do_not_depend_on_the_process():
    assert wide("order", 1, 2) == 5219303784323788906


def test_seeded_blocks_repeat_and_leave_chance_as_it_was():
    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()

    with seeded("test", 0):
        first = draw()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with seeded("test", 0):
        assert draw() == first
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())


def test_no_validation_digit_is_ever_trained_on():
    trained = torch.cat([PAIRS.sources(seed, 0, 3 * TRAINED) for seed in range(3)]).unique()
    validated = PAIRS.validation_sources().unique()
    assert trained.tolist() == list(range(TRAINED))
    assert validated.min() >= TRAINED
    assert len(validated) > 350


def test_no_image_of_a_digit_is_on_both_sides():
    images = [tuple(image.flatten().tolist()) for image in digits()[0]]
    assert not set(images[:TRAINED]) & set(images[TRAINED:])


def test_a_label_reads_the_two_digits_from_left_to_right():
    first, seven = digits()[1].tolist().index(1), digits()[1].tolist().index(7)
    _, labels = compose(torch.tensor([[first, seven]]), Recipe(), generator(0))
    assert labels.tolist() == [17]


def test_each_digit_is_drawn_upright_in_its_half():
    still = Recipe(height=1.0, rise=0.0, turn=0.0, stretch=0.0, noise=0.0)
    images, _ = compose(torch.tensor([[0, 1]]), still, generator(0))
    shrunk = torch.nn.functional.interpolate(images[:, :1], (8, 16), mode="area")[0, 0]
    for half, digit in zip(shrunk.split(8, dim=1), digits()[0][:2, 0], strict=True):
        assert torch.corrcoef(torch.stack([half.flatten(), digit.flatten()]))[0, 1] > 0.95


@pytest.mark.parametrize("data", [PAIRS, TEXT], ids=["digits-pair", "stdlib-lm"])
def test_batches_follow_seed_and_step_alone(data):
    again = [
        torch.equal(a, b) for a, b in zip(data.batch(0, 5, 8), data.batch(0, 5, 8), strict=True)
    ]
    assert again == [True, True]
    assert not torch.equal(data.batch(0, 5, 8)[0], data.batch(1, 5, 8)[0])
    assert not torch.equal(data.batch(0, 5, 8)[0], data.batch(0, 6, 8)[0])


@pytest.mark.parametrize("data", [PAIRS, TEXT], ids=["digits-pair", "stdlib-lm"])
def test_the_validation_set_is_fixed(data):
    for one, other in zip(data.validation(), data.validation(), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_the_validation_set_has_the_size_that_facts_say():
    assert sum(len(labels) for _, labels in PAIRS.validation()) == PAIRS.facts()["validation_size"]
    assert sum(y.numel() for _, y in TEXT.validation()) == TEXT.facts()["validation_size"]


def test_pixels_are_about_normal():
    images, _ = PAIRS.batch(0, 0, 512)
    assert images.shape == (512, 3, 32, 32)
    assert abs(images.mean()) < 0.2
    assert 0.8 < images.std() < 1.2


def test_another_recipe_has_another_hash():
    noisy = DigitsPair(recipe=Recipe(noise=0.2))
    assert noisy.facts()["data_hash"] != PAIRS.facts()["data_hash"]
    assert DigitsPair(recipe=Recipe()).facts() == PAIRS.facts()


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    digits.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(MissingExtra) as refused:
        digits()
    assert str(refused.value) == (
        "data 'digits-pair' needs the models extra: pip install 'adan-autotune[models]'"
    )


def test_digits_are_read_as_scikit_learn_reads_them_without_importing_it(monkeypatch, tmp_path):
    images, labels = digits_pair._table()
    nowhere = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(digits_pair, "find_spec", lambda name: nowhere)
    theirs, told = digits_pair._table()  # as it has no such file there
    assert (images.dtype, images.tobytes()) == (theirs.dtype, theirs.tobytes())
    assert (labels.dtype, labels.tobytes()) == (told.dtype, told.tobytes())


def test_no_file_of_the_library_is_on_both_sides():
    text = stdlib_lm.corpus()
    assert not set(text.train_files) & set(text.validation_files)
    assert len(text.train_files) > 8 * len(text.validation_files) > 100


def test_tests_and_encodings_and_generated_files_are_left_out():
    text = stdlib_lm.corpus()
    names = text.train_files + text.validation_files
    folders = {part for name in names for part in name.split("/")[:-1]}
    assert not folders & {"test", "tests", "encodings", "idlelib", "lib2to3", "site-packages"}
    assert not [name for name in names if "_sysconfigdata" in name]
    assert {"argparse.py", "json/decoder.py"} <= set(names)


def test_the_label_of_a_byte_is_the_next_one():
    inputs, labels = TEXT.batch(0, 0, 4)
    assert inputs.shape == labels.shape == (4, 64)
    assert torch.equal(inputs[:, 1:], labels[:, :-1])
    assert bytes(inputs[0].tolist()) in bytes(stdlib_lm.corpus().train.tolist())


def test_the_hash_follows_names_and_contents(tmp_path):
    for i in range(20):
        (tmp_path / f"m{i:02}.py").write_text("x = 1\n" * 10_000)
    before = stdlib_lm.corpus.__wrapped__(tmp_path)
    (tmp_path / "m05.py").write_text("x = 2\n" * 10_000)
    after = stdlib_lm.corpus.__wrapped__(tmp_path)
    assert before.validation_files == ("m09.py", "m19.py")
    assert before.sha256 != after.sha256


def test_a_python_without_sources_is_refused(tmp_path):
    (tmp_path / "os.py").write_text("pass\n")
    with pytest.raises(SpecError) as refused:
        stdlib_lm.corpus.__wrapped__(tmp_path)
    assert str(refused.value) == (
        "data 'stdlib-lm' needs the sources of Python's library, found 5 bytes of them "
        f"in {tmp_path}; use a Python that ships its .py files, or a model of images"
    )


def test_unknown_data_suggests():
    with pytest.raises(UnknownName) as refused:
        sources.images("digit-pair", digits=Recipe())
    assert str(refused.value) == (
        "unknown image data 'digit-pair'; did you mean 'digits-pair'? "
        "(known: FILE.npz, digits-pair, imagefolder:PATH), and there is no folder of that name"
    )


def test_a_language_model_does_not_take_images():
    with pytest.raises(
        UnknownName,
        match=r"^text data must be 'stdlib-lm', the source of Python's standard library, or the "
        r"path of a text file, a folder of them, tokens in \.bin or a data set on disk, "
        r"got 'digits-pair', which does not exist$",
    ):
        sources.text("digits-pair")
