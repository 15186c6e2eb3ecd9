"""The user's text and tokens: what is read, what is held out, what is refused."""

import json

import numpy as np
import pytest
import torch

from autotune.data import identity, sources, token_bin
from autotune.data.masked import NOTHING, Masked
from autotune.data.windows import Windows
from autotune.errors import SpecError, UnknownName
from autotune.tasks.resolve import resolve


@pytest.fixture
def tokens(tmp_path):
    """A file of 1,000 tokens below 500."""
    path = tmp_path / "some.bin"
    np.arange(1000, dtype="<u2").__mod__(500).astype("<u2").tofile(path)
    return path


def loaded(path, vocabulary=500):
    return sources.tokens(str(path), vocabulary=vocabulary)


def whole(part):
    return bytes(part.numbers.tolist())


def refusal(path, vocabulary=500, error=SpecError):
    with pytest.raises(error) as refused:
        loaded(path, vocabulary)
    return str(refused.value)


def test_the_end_of_a_text_file_is_held_out(tmp_path):
    file = tmp_path / "text.txt"
    file.write_bytes(bytes(range(10, 110)))
    found = loaded(file)
    assert whole(found.train) + whole(found.held_out) == file.read_bytes()
    assert (len(found.held_out.numbers), found.held_out.first, found.vocabulary) == (10, 90, 256)


def test_a_folder_holds_out_files_and_no_copy_of_what_it_trains_on(tmp_path):
    (tmp_path / "sub").mkdir()
    for i in range(10):
        (tmp_path / ("sub" if i % 3 else ".") / f"f{i}").write_text("ab" if i % 2 else "cd")
    (tmp_path / ".hidden").write_text("xy")
    found = loaded(tmp_path)
    sides = [whole(found.train).decode(), whole(found.held_out).decode()]
    assert sorted(sides) == ["ab" * 5, "cd" * 5]


def test_tokens_are_mapped_and_never_read_as_a_whole(tokens):
    found = loaded(tokens)
    assert isinstance(found.train.numbers, np.memmap)
    assert (len(found.train.numbers), len(found.held_out.numbers)) == (900, 100)


def test_a_folder_of_nanogpt_validates_on_its_own_file(tmp_path):
    for name, first in [("train", 0), ("val", 7)]:
        (np.arange(40) + first).astype("<u4").tofile(tmp_path / f"{name}.bin")
    found = loaded(f"{tmp_path}?dtype=uint32&vocabulary=60")
    assert (found.train.numbers[0], found.held_out.numbers[0], found.vocabulary) == (0, 7, 60)
    (tmp_path / "val.bin").write_bytes((tmp_path / "train.bin").read_bytes())
    assert refusal(f"{tmp_path}?dtype=uint32") == (
        f"{tmp_path}/train.bin and {tmp_path}/val.bin hold the same; validate on other tokens"
    )


def test_windows_never_reach_from_one_side_to_the_other(tokens):
    windows = Windows(tokens=loaded(tokens), context=20)
    seen = torch.cat([torch.cat(windows.batch(0, step, 9), 1) for step in range(5)])
    assert windows.samples == 44
    assert len(seen[:, 0].unique()) + 19 > 40  # every window but those whose numbers repeat
    held_out = torch.cat([torch.cat(pair, 1) for pair in windows.validation()])
    assert (held_out.min(), held_out.max()) == (400, 499)
    assert seen.max() == 499
    inputs, labels = windows.batch(3, 1, 4)
    assert torch.equal(inputs[:, 1:], labels[:, :-1])


def test_windows_facts_are_those_of_the_file(tokens):
    facts = Windows(tokens=loaded(tokens), context=20).facts()
    assert (facts["data"], facts["vocabulary"], facts["train_tokens"]) == (str(tokens), 500, 900)
    tokens.write_bytes(tokens.read_bytes()[2:] + b"\0\0")
    assert Windows(tokens=loaded(tokens), context=20).facts()["data_hash"] != facts["data_hash"]


def test_the_hash_of_a_large_file_is_of_its_size_and_of_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "BLOCK", 4)
    monkeypatch.setattr(identity, "BLOCKS", 3)
    file = tmp_path / "x"

    def hashed(content):
        file.write_bytes(content)
        return identity.identity([file])

    base = hashed(b"a" * 30)
    assert base["data_hash_of"] == identity.SAMPLED
    assert hashed(b"a" * 29 + b"b")["data_hash"] != base["data_hash"]
    assert hashed(b"b" + b"a" * 29)["data_hash"] != base["data_hash"]
    assert hashed(b"a" * 31)["data_hash"] != base["data_hash"]
    assert hashed(b"a" * 5 + b"b" + b"a" * 24) == base  # between the blocks
    assert "data_hash_of" not in hashed(b"a" * 12)


def test_a_token_beyond_the_vocabulary_is_refused_with_its_place(tokens):
    for vocabulary, place, where in [(499, 499, tokens), (100, 100, tokens)]:
        assert refusal(tokens, vocabulary) == (
            f"tokens must be below {vocabulary}, the vocabulary, got {place} at place {place} of "
            f"{where}; state another as --data 'PATH?vocabulary=N', or their type as dtype=uint32"
        )


def test_the_place_of_a_held_out_token_is_that_in_the_file(tmp_path):
    file = tmp_path / "t.bin"
    numbers = np.ones(100, "<u2")
    numbers[95] = 9
    numbers.tofile(file)
    assert "got 9 at place 95 of" in refusal(file, 5)


def test_tokens_of_a_file_too_large_to_look_at_are_checked_as_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(token_bin, "LOOKED_AT", 64)
    file = tmp_path / "t.bin"
    numbers = np.ones(2000, "<u2")
    numbers[500] = 9  # between the pieces
    numbers.tofile(file)
    windows = Windows(tokens=loaded(file, 5), context=10)
    with pytest.raises(SpecError, match=r"got 9 at place 500 of "):
        windows.batch(0, 0, windows.samples)
    numbers[0] = 9
    numbers.tofile(file)
    assert "got 9 at place 0 of" in refusal(file, 5)


@pytest.mark.parametrize(
    ("content", "query", "said"),
    [
        (b"", "", "data file {} is empty"),
        (
            b"123",
            "",
            "data file {} must hold whole numbers of 2 bytes (uint16), got 3 bytes; state their "
            "type as --data 'PATH?dtype=uint32'",
        ),
        (
            np.arange(1, 99, dtype="<u4").tobytes(),
            "",
            "every second token of {} is 0, as where 4 bytes a token are read as 2; state their "
            "type as --data 'PATH?dtype=uint32', or dtype=uint16 if it is right",
        ),
        (b"1234", "?dtype=int8", "dtype must be uint16 or uint32, got 'int8'"),
        (b"1234", "?vocabulary=x", "vocabulary must be a whole number above 1, got 'x'"),
    ],
)
def test_tokens_of_the_wrong_form_are_refused(tmp_path, content, query, said):
    file = tmp_path / "t.bin"
    file.write_bytes(content)
    assert refusal(f"{file}{query}") == said.format(file)


def test_a_model_of_bytes_takes_tokens_no_larger_than_bytes(tokens):
    for model in ("gpt-nano", "gpt-pico"):
        with pytest.raises(SpecError) as refused:
            resolve(model, data=f"{tokens}?vocabulary=500")
        assert str(refused.value) == (
            f"the vocabulary of data '{tokens}?vocabulary=500' must be at most 256, that of a "
            "model of bytes, got 500"
        )


def test_an_unknown_option_of_data_suggests(tokens):
    assert refusal(f"{tokens}?vocab=7", error=UnknownName) == (
        "unknown option of data 'vocab'; did you mean 'vocabulary'? (known: dtype, vocabulary)"
    )


def test_text_that_cannot_be_trained_on_is_refused(tmp_path):
    file = tmp_path / "x.txt"
    file.write_bytes(b"a\0b")
    assert refusal(file) == (
        f"data file {file} is no text, it holds bytes of 0; tokens are taken from .bin files, "
        "images by models of images"
    )
    file.write_bytes(b"")
    assert refusal(file) == f"data file {file} is empty"
    file.write_bytes(b"short")
    with pytest.raises(SpecError) as refused:
        resolve("gpt-nano", data=str(file))
    assert str(refused.value) == (
        f"data '{file}' must have at least 65 tokens to train on, a window and its last label, "
        "got 5"
    )
    assert refusal(f"{file}?vocabulary=7") == (
        f"text has a vocabulary of 256 bytes, got data '{file}?vocabulary=7'; leave it out"
    )
    assert refusal(tmp_path) == (
        f"data folder {tmp_path} must hold at least 2 different files, one of which is held out, "
        "got 1; give the path of a file, of which the end is held out"
    )


def saved(folder, **columns):
    """Write a data set as Hugging Face's library does."""
    pyarrow = pytest.importorskip("pyarrow")
    folder.mkdir(parents=True)
    table = pyarrow.table(columns)
    with pyarrow.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as out:
        out.write_table(table, max_chunksize=2)
    files = [{"filename": "data-00000-of-00001.arrow"}]
    (folder / "state.json").write_text(json.dumps({"_data_files": files}))
    return folder


def test_a_data_set_on_disk_is_read_by_its_splits(tmp_path):
    saved(tmp_path / "train", text=["ab", None, "c"], label=[1, 2, 3])
    saved(tmp_path / "test", text=["de"], label=[1])
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    found = loaded(tmp_path)
    assert (whole(found.train), whole(found.held_out)) == (b"ab\nc\n", b"de\n")
    assert found.vocabulary == 256


def test_tokens_of_a_data_set_on_disk_are_checked(tmp_path):
    folder = saved(tmp_path / "set", input_ids=[[1, 2], [], [3, 4, 5], [6, 7, 8, 9, 11]])
    found = loaded(folder, 12)
    assert found.train.numbers.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert (found.held_out.numbers.tolist(), found.vocabulary) == ([11], 12)
    assert "got 11 at place 9 of" in refusal(folder, 11)
    other = saved(tmp_path / "other", pixels=[1, 2])
    assert (
        refusal(other) == f"data set {other} must have a column 'input_ids' or 'text', got pixels"
    )


def masked(context=40, **arguments):
    windows = Windows(tokens=sources.tokens(None, vocabulary=256), context=context)
    return Masked(windows=windows, mask=256, **arguments)


def test_masks_follow_seed_and_step_and_hide_as_many_tokens_of_each_window():
    data = masked()
    inputs, labels = data.batch(1, 2, 8)
    again = data.batch(1, 2, 8)
    assert torch.equal(inputs, again[0])
    assert torch.equal(labels, again[1])
    places = [(data.batch(1, step, 8)[1] != NOTHING) for step in (2, 3)]
    assert not torch.equal(*places)
    assert not torch.equal(labels, data.batch(2, 2, 8)[1])
    assert (labels != NOTHING).sum(1).tolist() == [6] * 8
    shown = data.windows.batch(1, 2, 8)[0]
    assert torch.equal(inputs[labels == NOTHING], shown[labels == NOTHING])
    assert torch.equal(labels[labels != NOTHING], shown[labels != NOTHING])


def test_of_the_chosen_tokens_four_fifths_are_masked_and_a_tenth_is_drawn():
    inputs, labels = masked().batch(0, 0, 2000)
    chosen = labels != NOTHING
    hidden = (inputs == 256)[chosen].float().mean()
    kept = (inputs == labels)[chosen].float().mean()
    assert abs(hidden - 0.8) < 0.015
    assert abs(kept - 0.1) < 0.015  # those drawn seldom are what they stand for


def test_validation_masks_are_the_same_for_every_call():
    one, other = masked().validation(), masked().validation()
    assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
