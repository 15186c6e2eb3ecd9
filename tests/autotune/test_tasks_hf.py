"""hf:CONFIG: any architecture of transformers, from a configuration alone."""

import json

import pytest
import torch

from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.models.hf import Head
from autotune.tasks import gpt2
from autotune.tasks.resolve import resolve
from autotune.testing.tasks import TaskContract

GPT = "hf:gpt2?n_layer=1&n_embd=16&n_head=2&vocab_size=256&context=16"
BERT = (
    "hf:bert?hidden_size=16&num_hidden_layers=1&num_attention_heads=2&intermediate_size=16"
    "&vocab_size=260&as=masked-lm&context=16"
)
VIT = (
    "hf:vit?hidden_size=16&num_hidden_layers=1&num_attention_heads=2&intermediate_size=16"
    "&image_size=12&patch_size=4"
)


class TestHF(TaskContract):
    @pytest.fixture(params=[GPT, BERT, VIT], ids=["gpt2", "bert", "vit"])
    def task(self, request):
        return resolve(request.param, batch_size=4)


def refusal(model, error=SpecError, **given):
    with pytest.raises(error) as refused:
        resolve(model, **given).facts()
    return str(refused.value)


def config(folder, **values):
    (folder / "config.json").write_text(json.dumps(values))
    return f"hf:{folder}"


def test_arguments_reach_the_configuration():
    task = resolve(GPT)
    model = task.model(0)
    assert (model.config.n_layer, model.config.n_embd) == (1, 16)
    assert (task.name, task.facts()["model"], task.data.context) == ("hf-gpt2", GPT, 16)
    assert task.presets is gpt2.PRESETS


def test_a_folder_s_config_is_read_and_known_by_its_content(tmp_path):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    given = {"model_type": "bert", "intermediate_size": 16, "dtype": "bfloat16", **small}
    model = config(tmp_path, architectures=["BertForMaskedLM"], **given)
    task = resolve(f"{model}?context=16")
    assert {weight.dtype for weight in task.model(0).parameters()} == {torch.float32}
    assert task.data.mask == 256
    before = task.facts()
    assert before["model"] == f"{model}?context=16"
    config(tmp_path, architectures=["BertForMaskedLM"], layer_norm_eps=1e-3, **given)
    assert resolve(f"{model}?context=16").facts()["config_hash"] != before["config_hash"]


def test_code_that_comes_with_a_config_is_never_run(tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit('run')\n")
    code = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    model = config(tmp_path, model_type="evil", auto_map=code)
    assert refusal(model, UnknownName) == (
        f"{model}: transformers has no model type 'evil'; code that comes with a config is never "
        "run"
    )
    small = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 256}
    known = config(tmp_path, model_type="gpt2", auto_map=code, **small)
    assert type(resolve(f"{known}?context=8").model(0)).__name__ == "GPT2LMHeadModel"


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        (
            "hf:openai/gpt2",
            UnknownName,
            "unknown config 'openai/gpt2'; did you mean 'openai-gpt'?; give a model type of "
            "transformers as gpt2 or vit, a config.json or its folder; nothing is downloaded",
        ),
        (
            "hf:gpt2?n_layr=2",
            UnknownName,
            "hf:gpt2?n_layr=2: a config of 'gpt2' has no 'n_layr'; did you mean 'n_layer'?",
        ),
        (
            "hf:gpt2?n_layer",
            SpecError,
            "hf:gpt2?n_layer: write hf:CONFIG, or hf:CONFIG?name=value&name=value with values as "
            "in JSON",
        ),
        (
            "hf:bert",
            SpecError,
            "hf:bert: 'bert' can be several networks; add as=masked-lm or as=causal-lm",
        ),
        (
            "hf:gpt2?as=masked-lm",
            SpecError,
            "hf:gpt2?as=masked-lm: as must be one of causal-lm, what transformers has of 'gpt2' "
            "and is trained here, got 'masked-lm'",
        ),
        (
            "hf:t5",
            SpecError,
            f"hf:t5: transformers has no {', '.join(Head)} of 't5', which are what is trained "
            "here; bring it in a function: --model file.py:function",
        ),
        (
            "hf:gpt2?vocab_size=100",
            SpecError,
            "the vocabulary of data 'stdlib-lm' must be at most 100, that of model "
            "'hf:gpt2?vocab_size=100', got 256",
        ),
        (
            "hf:bert?as=masked-lm&vocab_size=256",
            SpecError,
            "hf:bert?as=masked-lm&vocab_size=256: the token that hides others must be below "
            "vocab_size 256, got 256; add mask=N, or a larger vocab_size",
        ),
        (
            "hf:gpt2?n_layer=-1",
            SpecError,
            "hf:gpt2?n_layer=-1: n_layer must be at least 1, got -1",
        ),
        (
            "hf:gpt2?context=0",
            SpecError,
            "hf:gpt2?context=0: context must be a whole number from 1, got 0",
        ),
        (
            "hf:gpt2?context=1025",
            SpecError,
            "hf:gpt2?context=1025: context must be at most 1024, the network's "
            "max_position_embeddings, got 1025",
        ),
        ("hf:gpt2?mask=3", SpecError, "hf:gpt2?mask=3: mask is for as=masked-lm; leave it out"),
        ("hf:vit?mask=3", SpecError, "hf:vit?mask=3: mask is for text; leave it out"),
        (
            "hf:vit?num_channels=1",
            SpecError,
            "hf:vit?num_channels=1: num_channels must be 3, as images have, got 1",
        ),
        (
            "hf:vit?image_size=[8, 9]",
            SpecError,
            "hf:vit?image_size=[8, 9]: image_size must be one whole number, as images are squares",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(model, error, said):
    assert refusal(model, error) == said


def test_a_value_that_the_library_refuses_is_told_with_its_words():
    assert refusal("hf:gpt2?n_layer=x").startswith("hf:gpt2?n_layer=x: ")
    found = refusal("hf:gpt2?n_embd=10&n_head=3")
    assert found.startswith("building hf:gpt2?n_embd=10&n_head=3 raised ValueError: ")


def test_what_only_a_batch_shows_is_told_before_a_search():
    # RoBERTa begins to count places after its padding: two fewer than its configuration says.
    sizes = "hidden_size=16&num_hidden_layers=1&num_attention_heads=2&intermediate_size=16"
    model = f"hf:roberta?{sizes}&vocab_size=300&max_position_embeddings=16&context=16&as=masked-lm"
    with pytest.raises(SpecError, match=r"^the loss of hf:roberta\?.* raised RuntimeError: "):
        resolve(model, batch_size=2).rehearse()


def test_a_config_that_is_none_is_refused(tmp_path):
    file = tmp_path / "config.json"
    file.write_text("{")
    assert refusal(f"hf:{file}") == f"config {file} is no JSON"
    file.write_text("{}")
    assert refusal(f"hf:{file}") == (
        f"config {file} must name its model_type, as transformers writes it"
    )


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert refusal("hf:gpt2", MissingExtra) == (
        "the model 'hf:gpt2' needs the models extra: pip install 'adan-autotune[models]'"
    )
