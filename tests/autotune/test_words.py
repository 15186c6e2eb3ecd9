"""Values that are words stay words, whatever a format takes them for."""

import pytest

from autotune.config import Request, resolve
from autotune.errors import SpecError
from autotune.studies.spec import parse


@pytest.mark.parametrize("text", ["123", "007", "1.10", "2026-11-30", "yes", "12:30", "0x1f"])
@pytest.mark.parametrize("key", ["NAME", "DATA"])
def test_words_of_the_environment_are_not_read_as_numbers(text, key, tmp_path):
    resolved = resolve(
        Request(flags={"model": "mlp"}), environment={f"AUTOTUNE_{key}": text}, directory=tmp_path
    )
    assert getattr(resolved.spec, key.lower()) == text


@pytest.mark.parametrize("text", ["123", "007", "1.10", "2026-11-30", "yes", "12:30", "'a b'"])
def test_words_of_a_yaml_file_are_not_read_as_numbers(text, tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(f"model: mlp\nname: {text}\nray:\n  address: 10.0.0.1:6379\n")
    resolved = resolve(Request(files=[file]), environment={}, directory=tmp_path)
    assert resolved.spec.name == text.strip("'")


@pytest.mark.parametrize(
    ("file", "text"),
    [("a.json", '{"model": "mlp", "name": 123}'), ("a.toml", 'model = "mlp"\nname = 123\n')],
)
def test_a_number_of_another_format_is_a_name_too(file, text, tmp_path):
    (tmp_path / file).write_text(text)
    resolved = resolve(Request(files=[tmp_path / file]), environment={}, directory=tmp_path)
    assert resolved.spec.name == "123"


def test_a_name_whose_spelling_is_lost_is_asked_for_in_quotes():
    with pytest.raises(SpecError, match=r"^name must be text, got 1\.1; put it in quotes$"):
        parse({"model": "mlp", "name": 1.10})


def test_an_empty_name_in_a_file_is_none(tmp_path):
    (tmp_path / "a.yaml").write_text("model: mlp\nname:\ndata: ~\n")
    spec = resolve(Request(files=[tmp_path / "a.yaml"]), environment={}, directory=tmp_path).spec
    assert (spec.name, spec.data) == (None, None)
