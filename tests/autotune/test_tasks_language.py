"""BERT, GPT-2 and Transformer-XL: sizes, losses against a reference, and what is refused."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from autotune.data.masked import NOTHING
from autotune.errors import MissingExtra, SpecError
from autotune.models.language import bert, gpt2
from autotune.models.transformer_xl import Shape, TransformerXL, shifted
from autotune.tasks.masked_tokens import MaskedTokens
from autotune.tasks.resolve import resolve

SMALL = Shape(layers=2, width=16, heads=2, inner=32, vocabulary=20, segment=8, memory=24)


class Table(nn.Module):
    """Answers each token with its row, whatever stands around it."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, tokens):
        return SimpleNamespace(logits=self.rows[tokens])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("bert-base", 109_514_298),
        # 16 blocks of 5 x 410 x 410 + 2 x 410 x 2100 + 2100 + 5 x 410, 256 bytes, two biases.
        ("txl-base", 16 * (5 * 410**2 + 2 * 410 * 2100 + 2100 + 5 * 410) + 256 * 410 + 2 * 410),
    ],
)
def test_the_papers_sizes_are_theirs(name, parameters):
    task = resolve(name)
    with torch.device("meta"):
        model = task.build(0)
        windows = torch.zeros(2, task.data.facts()["context"], dtype=torch.long)
        loss = task.objective(task.precision).loss(model, (windows, windows))
    assert sum(weight.numel() for weight in model.parameters()) == parameters
    assert (loss.device.type, loss.shape) == ("meta", ())


@pytest.mark.parametrize("name", ["bert-mini", "gpt2-mini", "txl-mini"])
def test_small_models_train_on_the_device_of_their_weights(name):
    task = resolve(name, batch_size=2)
    with torch.device("meta"):
        model = task.build(0)
    batch = [each.to("meta") for each in task.data.batch(0, 0, 2)]
    task.objective(task.precision).loss(model, batch).backward()
    assert all(weight.grad.is_meta for weight in model.parameters())


@pytest.mark.parametrize("name", ["bert-mini", "gpt2-mini", "txl-mini"])
def test_a_small_model_starts_near_the_loss_of_guessing(name):
    assert abs(resolve(name).start(0).loss(0).item() - math.log(256)) < 0.4


@pytest.mark.parametrize("name", ["bert-mini", "gpt2-mini", "txl-mini"])
def test_a_run_that_goes_on_elsewhere_has_the_same_losses(name):
    task = resolve(name, batch_size=2)
    whole, resumed = task.start(5), task.start(5)
    for step in range(2):
        whole.loss(step)  # what it would carry from step to step, another process has not
    assert resumed.loss(2) == whole.loss(2)


def test_a_loss_of_masked_tokens_is_of_those_alone():
    torch.manual_seed(0)
    rows = torch.randn(6, 6)
    inputs = torch.tensor([[5, 1, 2], [3, 5, 4]])
    labels = torch.tensor([[0, NOTHING, NOTHING], [NOTHING, 2, NOTHING]])
    batch = (inputs, labels)
    logs = rows.double().log_softmax(1)
    expected = -(logs[5, 0] + logs[5, 2]) / 2
    found = MaskedTokens().loss(Table(rows), batch)
    torch.testing.assert_close(found.double(), expected)
    rows[5] = torch.tensor([0.0, 0, 9, 0, 0, 0])
    measured = MaskedTokens().measure(Table(rows), batch)
    assert measured.accuracy == 0.5
    constant = MaskedTokens().facts([batch])
    assert constant["constant_loss"] == pytest.approx(math.log(2))


def test_gpt2_s_loss_is_of_the_next_token_as_transformers_computes_it():
    task = resolve("gpt2-mini", batch_size=3)
    run = task.start(0)
    inputs, labels = task.data.batch(0, 0, 3)
    window = torch.cat([inputs, labels[:, -1:]], 1)[:, :-1]
    theirs = run.model(window, labels=window).loss  # it shifts by one, so it has one label fewer
    logits = run.model(inputs).logits[:, :-1]
    ours = cross_entropy(logits.flatten(0, 1), labels[:, :-1].flatten())
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        run.loss(0), cross_entropy(run.model(inputs).logits.flatten(0, 1), labels.flatten())
    )


def test_gpt2_sees_no_later_token_and_bert_does():
    torch.manual_seed(0)
    ids = torch.randint(20, (1, 8))
    changed = ids.clone()
    changed[0, 5:] = 0
    sizes = {"vocab_size": 20}
    causal = gpt2("x", n_layer=1, n_head=2, n_embd=8, n_positions=8, **sizes).eval()
    torch.testing.assert_close(causal(ids).logits[:, :5], causal(changed).logits[:, :5])
    both = bert(
        "x",
        num_hidden_layers=1,
        num_attention_heads=2,
        hidden_size=8,
        intermediate_size=8,
        max_position_embeddings=8,
        **sizes,
    ).eval()
    assert not torch.allclose(both(ids).logits[:, :5], both(changed).logits[:, :5])


def test_segments_with_a_long_memory_give_what_one_long_forward_gives():
    torch.manual_seed(0)
    tokens = torch.randint(20, (2, 32))
    with_memory = TransformerXL(SMALL)
    at_once = TransformerXL(Shape(**{**vars(SMALL), "segment": 32, "memory": 0}))
    for weight in with_memory.parameters():
        nn.init.normal_(weight, std=0.3)  # so that attention is not flat
    at_once.load_state_dict(with_memory.state_dict())
    torch.testing.assert_close(with_memory(tokens), at_once(tokens), atol=1e-4, rtol=1e-4)
    forgetful = TransformerXL(Shape(**{**vars(SMALL), "memory": 0}))
    forgetful.load_state_dict(with_memory.state_dict())
    assert not torch.allclose(forgetful(tokens), at_once(tokens), atol=1e-2)


def test_no_gradient_goes_through_the_memory():
    torch.manual_seed(0)
    model = TransformerXL(SMALL)
    _, memory = model._read(torch.full((1, 8), 1), [torch.zeros(1, 0, 16)] * 2)
    read, _ = model._read(torch.full((1, 8), 2), memory)
    (read * torch.randn(16)).sum().backward()
    assert not model.tokens.weight.grad[1].any()
    assert model.tokens.weight.grad[2].all()


def test_scores_by_distance_are_moved_to_their_keys():
    time, keys = 3, 5
    distances = torch.arange(keys - 1, -1, -1).expand(time, keys).float()
    moved = shifted(distances[None])[0]
    for query in range(time):
        for key in range(keys - time + query + 1):
            assert moved[query, key] == query + keys - time - key


def test_a_short_memory_holds_its_last_tokens():
    model = TransformerXL(Shape(**{**vars(SMALL), "memory": 5}))
    _, memory = model._read(torch.randint(20, (1, 8)), [torch.zeros(1, 0, 16)] * 2)
    _, memory = model._read(torch.randint(20, (1, 3)), memory)
    assert [part.shape for part in memory] == [(1, 5, 16)] * 2


@pytest.mark.parametrize(
    ("model", "query", "said"),
    [
        ("gpt2", "?vocabulary=60000", "50257, that of model 'gpt2', got 60000"),
        ("bert-base", "?vocabulary=30523", "30522, that of model 'bert-base', got 30523"),
    ],
)
def test_a_larger_vocabulary_than_the_paper_s_is_refused(tmp_path, model, query, said):
    file = tmp_path / "t.bin"
    np.ones(20_000, "<u2").tofile(file)
    with pytest.raises(SpecError) as refused:
        resolve(model, data=f"{file}{query}")
    assert str(refused.value) == f"the vocabulary of data '{file}{query}' must be at most {said}"


def test_a_vocabulary_is_stated_or_the_model_s(tmp_path):
    file = tmp_path / "t.bin"
    (np.arange(20_000) % 250).astype("<u2").tofile(file)
    stated = f"{file}?vocabulary=300"
    assert resolve("gpt2", data=str(file)).data.classes == 50_257
    assert resolve("txl-mini", data=str(file)).data.classes == 256
    assert resolve("txl-mini", data=stated).model(0).tokens.num_embeddings == 300
    masks = {d: resolve("bert-base", data=d).data.mask for d in (None, str(file), stated)}
    assert masks == {None: 256, str(file): 103, stated: 300}
    mini = resolve("bert-mini", data=stated)
    assert (mini.data.mask, mini.model(0).config.vocab_size) == (300, 301)


@pytest.mark.parametrize("build", [gpt2, bert])
def test_without_transformers_the_extra_is_named(monkeypatch, build):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtra) as refused:
        build("some-net")
    assert str(refused.value) == (
        "the model 'some-net' needs the models extra: pip install 'adan-autotune[models]'"
    )
