"""Memory access of the numba backend's compiled loops: elements are read and written by address.

bfloat16 is read into the compute dtype, and written as 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from numba import njit, types
from numba.extending import intrinsic

_ROLES = 17  # parameter, gradient, at most 14 buffers, and what a loop writes down for itself
SCRATCH = 16

NUMBERS: dict[torch.dtype, Any] = {torch.float32: types.float32, torch.float64: types.float64}
_HELD: dict[torch.dtype, Any] = {**NUMBERS, torch.bfloat16: types.uint16}


class Role(NamedTuple):
    """A tensor of a step, by its number, and the dtype it is kept in."""

    number: int
    dtype: torch.dtype


def _spot(builder: Any, held: Any, args: Any) -> Any:
    """Return the pointer to element ``args[1]`` of the array at address ``args[0]``."""
    return builder.gep(builder.inttoptr(args[0], held.as_pointer()), [args[1]])


def _promise(module: Any, access: Any, role: int) -> None:
    """Tell the compiler that roles do not overlap in memory, so that it may vectorise."""
    domain = module.add_metadata(["autotune.kernels.numba.memory"])
    scopes = [module.add_metadata([f"role {i}", domain]) for i in range(_ROLES)]
    access.set_metadata("alias.scope", module.add_metadata([scopes[role]]))
    access.set_metadata("noalias", module.add_metadata(scopes[:role] + scopes[role + 1 :]))


@cache
def load(role: Role, compute: torch.dtype) -> Any:
    """Return ``f(address, k)``, which reads element k of an array in the compute dtype."""
    number, held = NUMBERS[compute], _HELD[role.dtype]

    @intrinsic
    def load(typing: Any, address: Any, k: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(_spot(builder, context.get_value_type(held), args))
            _promise(builder.module, value, role.number)
            if role.dtype is compute:
                return value
            word, single = (context.get_value_type(t) for t in (types.uint32, types.float32))
            bits = builder.shl(builder.zext(value, word), word(16))
            widened = builder.bitcast(bits, single)
            return context.cast(builder, widened, types.float32, number)

        return number(types.int64, types.int64), generate

    return load


@cache
def store(role: Role) -> Any:
    """Return ``f(address, k, value)``, which writes element k of an array."""
    held = _HELD[role.dtype]

    @intrinsic
    def store(typing: Any, address: Any, k: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            spot = _spot(builder, context.get_value_type(held), args)
            _promise(builder.module, builder.store(args[2], spot), role.number)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, held), generate

    return store


def _bits(typing: Any, value: Any) -> Any:
    """Return the bits of a number in single precision."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.uint32))

    return types.uint32(types.float32), generate


bits: Any = intrinsic(_bits)  # called from compiled code only, with the number alone


def loads(roles: Sequence[Role], compute: torch.dtype) -> Any:
    """Return ``f(addresses, k)``, which reads element k of every role, as a tuple."""
    if not roles:
        return njit(inline="always")(lambda addresses, k: ())
    before, last, one = loads(roles[:-1], compute), roles[-1].number, load(roles[-1], compute)
    return njit(inline="always")(lambda a, k: (*before(a, k), one(a[last], k)))
