"""A data set of Hugging Face's ``datasets`` on disk, as ``save_to_disk`` writes it.

Its Arrow files are read by pyarrow: no code of the data set is run, nothing is unpickled or
fetched. A set of splits is trained on ``train`` and validated on ``validation``, ``valid`` or
``test``; of a single one the last tenth is held out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotune.data.identity import identity
from autotune.data.text_files import BYTES
from autotune.data.tokens import Numbers, Part, Tokens, halves
from autotune.errors import MissingExtra, SpecError

LIMIT = 1 << 28  # tokens that are held in memory
SPLITS, SINGLE = "dataset_dict.json", "state.json"
_VALIDATION = ("validation", "valid", "val", "test")
_IDS, _TEXT = "input_ids", "text"


def is_one(path: Path) -> bool:
    """Return whether a folder is a data set."""
    return any((path / name).is_file() for name in (SPLITS, SINGLE))


def load(name: str, path: Path, *, vocabulary: int) -> Tokens:
    """Return the column ``input_ids``, else the bytes of ``text``, a line break after each.

    Args:
        name: The data as ``--data`` takes it.
        path: The folder.
        vocabulary: Every token of ``input_ids`` is below it.
    """
    folders = _folders(path)
    files = [_files(folder) for folder in folders]
    read = [_column(folder, own) for folder, own in zip(folders, files, strict=True)]
    texts = {is_text for _, is_text in read}
    if len(texts) > 1:
        raise SpecError(f"the splits of data set {path} must have the same column, '{_IDS}'")
    if len(folders) == 1:
        train, held_out = halves(read[0][0], str(folders[0]))
    else:
        parts = zip(read, folders, strict=True)
        train, held_out = [Part(numbers=one[0], where=str(folder)) for one, folder in parts]
    size = BYTES if texts.pop() else vocabulary
    for part in (train, held_out):
        part.refuse(size)
    return Tokens(
        name=name,
        vocabulary=size,
        train=train,
        held_out=held_out,
        identity=identity([file for own in files for file in own]),
    )


def _folders(path: Path) -> list[Path]:
    """Return the folder of a single data set, or those to train on and to validate on."""
    if not (path / SPLITS).is_file():
        return [path]
    splits = _json(path / SPLITS).get("splits", [])
    held_out = next((one for one in _VALIDATION if one in splits), None)
    if "train" not in splits:
        raise SpecError(
            f"data set {path} must have a split 'train', got {', '.join(splits) or 'none'}; "
            "give the path of one split"
        )
    return [path / "train", *([path / held_out] if held_out else [])]


def _files(folder: Path) -> list[Path]:
    listed = _json(folder / SINGLE).get("_data_files", [])
    files = [folder / Path(str(one["filename"])).name for one in listed]
    if not files:
        raise SpecError(f"data set {folder} names no data file in {SINGLE}")
    return files


def _json(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"cannot read data file {file}: {error.strerror}") from error
    except ValueError as error:
        raise SpecError(f"data file {file} is no JSON") from error
    if not isinstance(found, dict):
        raise SpecError(f"data file {file} must hold names with values")
    return found


def _column(folder: Path, files: Sequence[Path]) -> tuple[Numbers, bool]:
    """Return the tokens of a data set, and whether they are bytes of text."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtra(
            "a data set on disk needs the datasets extra: pip install 'adan-autotune[datasets]'"
        ) from error
    found: list[Numbers] = []
    names: set[str] = set()
    for file in files:
        try:
            with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as table:
                names = {_name(folder, table.schema.names)}
                found += [_numbers(batch.column(*names), file) for batch in table]
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise SpecError(f"cannot read Arrow file {file}; save the data set again") from error
        if sum(map(len, found)) > LIMIT:
            raise SpecError(
                f"data set {folder} must have at most {LIMIT} tokens, which are held in memory; "
                "write them to a .bin file, which is not read into memory"
            )
    return np.concatenate(found) if found else np.empty(0, np.uint8), names == {_TEXT}


def _name(folder: Path, names: Sequence[str]) -> str:
    for name in (_IDS, _TEXT):
        if name in names:
            return name
    raise SpecError(
        f"data set {folder} must have a column '{_IDS}' or '{_TEXT}', got {', '.join(names)}"
    )


def _numbers(column: Any, file: Path) -> Numbers:
    """Return the tokens of rows one after another."""
    import pyarrow.types as kinds

    kind = column.type
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        rows = (text.encode() for text in column.to_pylist() if text)
        joined = b"".join(row + b"\n" for row in rows)
        return np.frombuffer(joined, dtype=np.uint8)
    if (kinds.is_list(kind) or kinds.is_large_list(kind)) and kinds.is_integer(kind.value_type):
        flat = column.flatten()
        if flat.null_count:
            raise SpecError(f"column {_IDS} of {file} must hold no missing tokens")
        found: Numbers = flat.to_numpy(zero_copy_only=False)
        return found.copy()  # the file is closed
    raise SpecError(f"column of {file} must hold text or lists of integers, got {kind}")
