"""Any architecture of transformers, from a configuration alone: offline, without weights.

Configurations are read as plain JSON and built by the classes of the installed library. Code that
comes beside a configuration is never run.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from torch import nn

from autotune.errors import SpecError, UnknownName
from autotune.models.library import transformers
from autotune.registry import near


class Head(StrEnum):
    """What a network gives for its input."""

    IMAGES = "image-classification"
    MASKED = "masked-lm"
    CAUSAL = "causal-lm"


_AUTO = {
    Head.IMAGES: "AutoModelForImageClassification",
    Head.MASKED: "AutoModelForMaskedLM",
    Head.CAUSAL: "AutoModelForCausalLM",
}
_NAMES = {
    Head.IMAGES: "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    Head.MASKED: "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    Head.CAUSAL: "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A configuration, and which of its networks is meant.

    Args:
        text: As it was asked for.
        config: transformers' object.
        head: What the network gives.
        sha256: Of the user's file; empty where there is none.
    """

    text: str
    config: Any
    head: Head
    sha256: str = ""

    def build(self, **changes: Any) -> nn.Module:
        """Return the network with fresh float32 weights, and ``changes`` of its configuration."""
        import torch

        library = transformers(f"the model '{self.text}'")
        config = copy.deepcopy(self.config)
        for name, value in changes.items():
            setattr(config, name, value)
        auto = getattr(library, _AUTO[self.head])
        model = auto.from_config(config, dtype=torch.float32, trust_remote_code=False)
        return cast(nn.Module, model)


def read(text: str, name: str, given: Mapping[str, Any], head: str | None) -> Architecture:
    """Return what is asked for.

    Args:
        text: As it was asked for, to be named in errors.
        name: A model type of transformers, a config.json, or a folder that holds one.
        given: Values of the configuration that are to be others.
        head: One of Head; None takes it from the configuration.

    Raises:
        SpecError: A name, a value or a head that the library does not have.
    """
    types = transformers(f"the model '{text}'").CONFIG_MAPPING
    path = Path(name).expanduser()
    file = path / "config.json" if path.is_dir() else path
    if name in types:
        plain, content = {"model_type": name}, b""
    elif file.is_file():
        plain, content = _json(file)
    else:
        raise UnknownName(
            f"unknown config '{name}'{near(name, types)}; give a model type of transformers "
            "as gpt2 or vit, a config.json or its folder; nothing is downloaded"
        )
    config = _configured(text, types, plain, given)
    return Architecture(
        text=text,
        config=config,
        head=_head(text, config, head),
        sha256=sha256(content).hexdigest() if content else "",
    )


def _json(file: Path) -> tuple[dict[str, Any], bytes]:
    try:
        content = file.read_bytes()
        found = json.loads(content)
    except OSError as error:
        raise SpecError(f"cannot read config {file}: {error.strerror}") from error
    except ValueError as error:
        raise SpecError(f"config {file} is no JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("model_type"), str):
        raise SpecError(f"config {file} must name its model_type, as transformers writes it")
    return found, content


def _configured(text: str, types: Any, plain: dict[str, Any], given: Mapping[str, Any]) -> Any:
    """Return transformers' object, refusing what it does not know."""
    kind = plain["model_type"]
    if kind not in types:
        raise UnknownName(
            f"{text}: transformers has no model type '{kind}'; code that comes with a config is "
            "never run"
        )
    # A set of its own, since a configuration keeps whatever it is given.
    called = getattr(types[kind], "attribute_map", {})
    known = {*types[kind]().to_dict(), *called}
    for name in given:
        if name not in known:
            raise UnknownName(
                f"{text}: a config of '{kind}' has no '{name}'{near(name, sorted(known))}"
            )
    _check_sizes(text, {**plain, **given}, called)
    try:
        return types[kind].from_dict({**plain, **given})
    except Exception as error:  # whatever its own checks raise of what a person wrote
        raise SpecError(f"{text}: {' '.join(str(error).split()).rstrip('.')}") from error


def _check_sizes(text: str, wanted: Mapping[str, Any], called: Mapping[str, str]) -> None:
    """Refuse what transformers finds out when it divides by it, or in the first step."""
    for size in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
        for name in {size, called.get(size, size)}:
            value = wanted.get(name)
            if isinstance(value, int) and value < 1:
                raise SpecError(f"{text}: {name} must be at least 1, got {value}")


def _head(text: str, config: Any, asked: str | None) -> Head:
    """Return which network is meant: as asked, as the configuration says, or the only one."""
    from transformers.models.auto import modeling_auto

    classes = {head: getattr(modeling_auto, _NAMES[head]).get(config.model_type) for head in Head}
    offered = [head for head, name in classes.items() if name]
    if asked is not None:
        if asked in offered:
            return Head(asked)
        raise SpecError(
            f"{text}: as must be one of {', '.join(offered) or 'none'}, what transformers has of "
            f"'{config.model_type}' and is trained here, got '{asked}'"
        )
    named = [head for head in offered if _among(config.architectures, classes[head])]
    if len(named or offered) == 1:
        return (named or offered)[0]
    if not offered:
        raise SpecError(
            f"{text}: transformers has no {', '.join(Head)} of '{config.model_type}', which are "
            "what is trained here; bring it in a function: --model file.py:function"
        )
    ways = " or ".join(f"as={head}" for head in offered)
    raise SpecError(f"{text}: '{config.model_type}' can be several networks; add {ways}")


def _among(architectures: Any, names: Any) -> bool:
    known = (names,) if isinstance(names, str) else tuple(names)
    return any(name in known for name in architectures or ())
