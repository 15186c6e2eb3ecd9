"""A file is replaced as a whole or not at all."""

import subprocess
import sys

import pytest

from autotune.studies.atomic import checksum, part_of, writing


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "one.bin"
    path.write_bytes(b"older")
    return path


def test_a_file_has_its_older_content_until_all_of_the_new_is_there(path):
    with writing(path) as file:
        file.write(b"newer")
        file.flush()
        assert path.read_bytes() == b"older"
    assert path.read_bytes() == b"newer"


def test_what_fails_midway_leaves_the_older_file_and_nothing_else(path):
    with pytest.raises(TypeError), writing(path) as file:
        file.writelines([b"new", "text"])
    assert path.read_bytes() == b"older"
    assert list(path.parent.iterdir()) == [path]


def test_two_processes_that_write_one_file_do_not_write_into_each_other(path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom autotune.studies.atomic import part_of\n"
        "print(part_of(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-P", "-c", script, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() != str(part_of(path))


def test_equal_content_has_equal_checksums(path, tmp_path):
    twin, other = tmp_path / "twin.bin", tmp_path / "other.bin"
    twin.write_bytes(b"older")
    other.write_bytes(b"odder")
    assert checksum(twin) == checksum(path) != checksum(other)
