"""Arguments of public functions, checked against their annotations when the function is called.

    @checked_arguments
    def attribute(model: NodeModel, data: PairDataset, ...) -> NodeScores:

An argument of the wrong type is refused with a message that names the argument, what was expected
and what was given. Only types are checked here; each function checks ranges, shapes and names
itself. Numpy's numbers count as numbers, True and False do not; any sequence but a text counts as a
list.
"""

from __future__ import annotations

import difflib
import inspect
import operator
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from numbers import Real
from pathlib import Path
from typing import Any, Literal, SupportsIndex, TypeVar, Union, get_args, get_origin, overload

from dfa_tl.display import shown
from dfa_tl.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

HINTS = {
    "NodeModel": "load_model(...) makes one from a name, a folder, or a live TransformerLens model",
    "PairDataset": "load_task(...) and read_pairs(...) give one",
    "PromptPair": "data.pairs holds those of a data set",
    "NodeScores": "attribute(...) makes them, NodeScores.load(...) reads them",
    "NodeSet": "model.nodes is that of a model",
    "Alignment": "align(...) makes one, Alignment.load(...) reads one; a chain holds its own in "
    ".steps",
    "AlignmentConfig": "AlignmentConfig(...) makes one, from settings by name",
    "AttentionPatterns": "attention_patterns(...) makes them",
    "FaithfulnessCurve": "evaluate(...) makes one",
    "StudyConfig": "StudyConfig(...) or StudyConfig.from_yaml(...) makes one",
    "Results": "run_study(...) or StudyResults.load(...) gives them",
}
"""How to get an object, by the name of its class."""

_PHRASES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    Path: "a path",
    slice: "a slice",
    type(None): "None",
}
_PLAIN = (type(None), bool, int, float, str, list, tuple, dict, set, Path)
_COLLECTIONS = (tuple, list, Sequence, Iterable)


@overload
def checked_arguments(function: F, *, skip: Sequence[str] = ()) -> F: ...
@overload
def checked_arguments(*, skip: Sequence[str]) -> Callable[[F], F]: ...
def checked_arguments(function: Any = None, *, skip: Sequence[str] = ()) -> Any:
    """Check the arguments of a function, a method or a class each time it is called.

    Args:
        function: The function. A class is changed in place: its `__init__` is checked.
        skip: Arguments that it checks itself; `*` for all, so that only their names are checked.

    Raises:
        ConfigError: when called with an argument of another type than its annotation.
        TypeError: when called with an unknown name, or without a required argument.
    """
    if function is None:
        return lambda decorated: checked_arguments(decorated, skip=skip)
    if inspect.isclass(function):
        initialize: Any = function.__init__
        function.__init__ = _checked(initialize, function.__name__, function.__module__, skip)
        return function
    return _checked(function, function.__qualname__, function.__module__, skip)


def _checked(
    function: Callable[..., Any], label: str, module: str, skip: Sequence[str]
) -> Callable[..., Any]:
    signature = inspect.signature(function)
    kinds: dict[str, Any] | None = None

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal kinds
        if kinds is None:  # all that annotations name has been imported by the first call
            kinds = _kinds(signature, vars(sys.modules[module]), skip)
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(_unbound(label, signature, kwargs, error)) from None
        for name, value in given.items():
            if name in kinds and not fits(value, kinds[name]):
                raise ConfigError(
                    f"{label}({name}=...): expected {described(kinds[name])}, got {got(value)}"
                    f"{_hint(kinds[name])}"
                )
        return function(*args, **kwargs)

    return call


def _kinds(
    signature: inspect.Signature, names: dict[str, Any], skip: Sequence[str]
) -> dict[str, Any]:
    """What each argument must be."""
    kinds: dict[str, Any] = {}
    if "*" in skip:
        return kinds
    for name, parameter in signature.parameters.items():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if name in ("self", "cls", *skip) or variadic or parameter.annotation is parameter.empty:
            continue
        annotation = parameter.annotation
        try:
            kinds[name] = eval(annotation, names) if isinstance(annotation, str) else annotation
        except NameError:  # imported only for type checking: compared by the class's name
            if annotation.isidentifier():
                kinds[name] = annotation
    return kinds


def _unbound(
    label: str, signature: inspect.Signature, kwargs: Mapping[str, Any], error: TypeError
) -> str:
    known = [name for name in signature.parameters if name not in ("self", "cls")]
    unknown = [name for name in kwargs if name not in known]
    if not unknown:
        return f"{label}(): {error}; it takes {', '.join(known)}"
    initials = [n for n in known if "".join(word[0] for word in n.split("_") if word) == unknown[0]]
    near = initials or difflib.get_close_matches(unknown[0], known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    return f"{label}() has no argument {unknown[0]!r}{meant} It takes {', '.join(known)}"


def fits(value: Any, kind: Any) -> bool:
    """Whether a value has the type that an annotation names."""
    if isinstance(kind, str):
        return kind in (each.__name__ for each in type(value).__mro__)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if isinstance(value, str) and not value and Path in inner:
            return False  # as a path, an empty text would mean the current folder
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            fits(key, inner[0]) and fits(each, inner[1]) for key, each in value.items()
        )
    if origin in _COLLECTIONS:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            return False
        to_list = getattr(value, "tolist", None)
        if to_list is not None:  # an array with one axis counts as the list of its numbers
            value = to_list()
            return isinstance(value, list) and all(fits(each, inner[0]) for each in value)
        return origin is Iterable or (
            hasattr(value, "__len__") and all(fits(each, inner[0]) for each in value)
        )
    return _fits_class(value, origin or kind)


def _fits_class(value: Any, kind: Any) -> bool:
    if kind is None:
        return value is None
    if kind is bool:
        return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")  # numpy's
    if kind is int:
        return _is_whole(value)
    if kind is float:
        return type(value) is float or (isinstance(value, Real) and not isinstance(value, bool))
    if kind is Callable:
        return callable(value)
    array = getattr(kind, "array_type", None)  # jaxtyping's annotations
    if array is not None:
        return isinstance(value, array)
    if kind is Any or not isinstance(kind, type):  # the latter: type variables
        return True
    if getattr(kind, "_is_protocol", False):  # a class has the members, too, but as functions
        return not isinstance(value, type) and isinstance(value, kind)
    return isinstance(value, kind)


def _is_whole(value: Any) -> bool:
    if type(value) is int:
        return True
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return False
    try:  # numpy's bool and tensors of floats have __index__, but it raises
        operator.index(value)
    except TypeError:
        return False
    return True


def described(kind: Any) -> str:
    """The type that an annotation asks for, in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if {str, Path} <= set(inner):
            rest = [each for each in inner if each not in (str, Path)]
            return " or ".join(["a path (str or Path)", *map(described, rest)])
        return " or ".join(map(described, inner))
    if origin is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if origin is not None and issubclass(origin, Mapping):
        return f"a mapping {{{_named(inner[0])}: {_named(inner[1])}}}"
    if origin in _COLLECTIONS:
        return f"a list of {_named(inner[0])}"
    if origin is Callable or kind is Callable:
        return "a function"
    if array := getattr(kind, "array_type", None):
        return f"a {array.__name__}"
    name = getattr(kind, "__name__", str(kind))  # `kind` is a str if only its name is known
    return _PHRASES.get(kind, f"{'an' if name[0] in 'AEIO' else 'a'} {name}")


def _named(kind: Any) -> str:
    """The same without an article, for the items of a list or a mapping."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_named, get_args(kind)))
    if kind in _PHRASES or get_origin(kind) is None:
        return getattr(kind, "__name__", str(kind))
    return described(kind)


def got(value: object) -> str:
    """What was given, in words: the value if it is a plain one, else its class."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, _PLAIN):
        return shown(value)
    name = type(value).__name__
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "detach") else ""  # type: ignore[attr-defined]
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}{shape}"


def _hint(kind: Any) -> str:
    found = HINTS.get(getattr(kind, "__name__", str(kind)))
    if found is None and get_args(kind):
        return next((hint for each in get_args(kind) if (hint := _hint(each))), "")
    return "" if found is None else f". To get it: {found}"
