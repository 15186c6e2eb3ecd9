"""Chunks cover every element once; tables are found by what they hold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autotune.kernels.triton import tables
from autotune.kernels.triton.tables import lines, place, sent

CPU = place(torch.device("cpu"))


def cut(sizes, aligned, chunk=32):
    return lines(np.array(sizes, dtype=np.int64), np.array(aligned), chunk)


def test_a_tensor_ends_in_what_is_left_over():
    found, firsts = cut([70], [True])
    assert found.tolist() == [[0, 0, 32], [0, 32, 32], [0, 64, 6]]
    assert firsts.tolist() == [0, 3]


def test_no_chunk_of_an_unaligned_tensor_is_full():
    found, _ = cut([33], [False])
    assert found.tolist() == [[0, 0, -32], [0, 32, -1]]


def test_empty_tensors_have_no_chunk():
    found, firsts = cut([0, 5, 0], [True, True, True])
    assert found.tolist() == [[1, 0, 5]]
    assert firsts.tolist() == [0, 0, 1, 1]


def test_starts_go_beyond_32_bits():
    found, _ = cut([5 * 2**31 + 1], [True], chunk=2**29)
    assert found[-1].tolist() == [0, 5 * 2**31, 1]


@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=1, max_size=8))
def test_every_element_is_in_one_chunk(tensors):
    sizes, aligned = zip(*tensors, strict=True)
    found, firsts = cut(sizes, aligned)
    for i, size in enumerate(sizes):
        own = found[firsts[i] : firsts[i + 1]]
        assert (own[:, 0] == i).all()
        covered = [k for _, start, n in own for k in range(start, start + abs(n))]
        assert covered == list(range(size))


@pytest.mark.parametrize("first", [0, 4, 1])
def test_a_chunk_is_aligned_when_all_that_it_meets_is(first):
    addresses = np.array([[64], [128 + 4 * first]])
    found = tables.cut(np.array([32]), addresses, CPU)
    assert found.chunks.tolist() == [0, 0, 32 if first % 4 == 0 else -32]


def test_numbers_that_were_sent_are_not_sent_again():
    content = np.arange(3).tobytes()
    assert sent(content, torch.int64, CPU) is sent(bytes(content), torch.int64, CPU)
    assert sent(content, torch.int64, CPU).tolist() == [0, 1, 2]


def test_another_stream_is_sent_its_own():
    content = np.arange(4).tobytes()
    other = CPU._replace(stream=1)
    assert sent(content, torch.int64, CPU) is not sent(content, torch.int64, other)


def test_what_was_sent_is_not_kept_for_ever():
    for i in range(200):
        sent(np.array([i]).tobytes(), torch.int64, CPU)
        tables.cut(np.array([i]), np.array([[64]]), CPU)
    assert sent.cache_info().currsize <= 64
    assert tables._cut.cache_info().currsize <= 16
