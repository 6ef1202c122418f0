"""Run-time checks of the tensor shapes that the package's signatures state.

jaxtyping's import hook decorates every function, also one inside another each time that it is made,
which would take most of the tests' time. Here it leaves alone what states no shape, and decorates a
function inside another the first few times only.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields, is_dataclass
from types import CodeType
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # int counts as float
jaxtyped = jaxtyping.jaxtyped
INNER_TIMES = 20
made: Counter[CodeType] = Counter()
"""How often each function inside another was made."""


def states_a_shape(decorated: Any) -> bool:
    """Whether an annotation is such as `Float[Tensor, "pair pos"]`."""
    if isinstance(decorated, type):
        annotations = [field.type for field in fields(decorated)] if is_dataclass(decorated) else []
    else:
        annotations = decorated.__annotations__.values()
    return any(re.search(r"(Tensor|ndarray), f?[\"']", str(each)) for each in annotations)


def often_made(decorated: Any) -> bool:
    if isinstance(decorated, type) or "<locals>" not in decorated.__qualname__:
        return False
    made[decorated.__code__] += 1
    return made[decorated.__code__] > INNER_TIMES


def jaxtyped_if_shaped(*, typechecker: Any) -> Any:
    """What the import hook calls in place of `jaxtyping.jaxtyped`."""

    def decorate(decorated: Any) -> Any:
        if often_made(decorated) or not states_a_shape(decorated):
            return decorated
        return jaxtyped(decorated, typechecker=typechecker)

    return decorate


jaxtyping.jaxtyped = jaxtyped_if_shaped
