"""The state of a model before a call, restored after it, whatever ends the call.

Each part of the package removes its own hooks when it is done. Ctrl-C may come at any step, also
between adding a hook and recording it, or while it is being removed. So at the end all hooks of
this package on the model are found and removed, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any, NamedTuple

from torch import nn

PACKAGE = __name__.split(".")[0] + "."


class _Module(NamedTuple):
    """A module as it was.

    Attributes:
        module: The module.
        hooks: Keys of its hooks.
        handles: TransformerLens's list of the hooks of a hook point.
        forward: The `forward` set on the instance, if one is.
    """

    module: nn.Module
    hooks: frozenset[int]
    handles: tuple[Any, ...]
    forward: Any


class ModelState:
    """The state of a model's modules when this is created.

    Attributes:
        noted: Whether there is something to restore.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = [
            _Module(
                module,
                frozenset((*module._forward_hooks, *module._forward_pre_hooks)),
                tuple(_handles(module)),
                module.__dict__.get("forward"),
            )
            for module in modules
        ]
        self._training = [module for module in modules if module.training]
        parameters = (p for module in modules for p in module.parameters(recurse=False))
        self._trainable = list({id(p): p for p in parameters if p.requires_grad}.values())
        self.noted = True

    def freeze(self) -> None:
        """Eval mode everywhere, and no parameter requires a gradient."""
        for module in self._training:
            module.training = False
        for parameter in self._trainable:
            parameter.requires_grad_(False)

    def put_back(self) -> None:
        """Restore the model. A second call does nothing.

        Ctrl-C while it runs takes effect when all is done.
        """
        interrupted = None
        while self.noted:
            try:
                self._put_back()
            except KeyboardInterrupt as again:
                interrupted = again
        if interrupted is not None:
            raise interrupted

    def _put_back(self) -> None:
        for each in self._modules:
            _take_off(each)
        for module in self._training:
            module.training = True
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        self._modules, self._training, self._trainable = [], [], []
        self.noted = False


def remove_hook(point: Any, handle: Any) -> None:
    """Remove a hook from a hook point, if it is still on it."""
    handle.hook.remove()
    if handle in point.fwd_hooks:
        point.fwd_hooks.remove(handle)


@contextmanager
def added_hooks(hooks: Iterable[tuple[Any, Callable[..., Any]]]) -> Iterator[None]:
    """Inside, each function is a hook on its hook point, after the hooks that are already on it."""
    added: list[tuple[Any, Any]] = []
    try:
        for point, function in hooks:
            point.add_hook(function)
            added.append((point, point.fwd_hooks[-1]))
        yield
    finally:
        for point, handle in added:
            remove_hook(point, handle)


def _handles(module: nn.Module) -> list[Any]:
    return module.__dict__.get("fwd_hooks", [])


def _take_off(before: _Module) -> None:
    module = before.module
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        new = [key for key in hooks if key not in before.hooks and _is_own(hooks[key])]
        for key in new:
            del hooks[key]
    handles = _handles(module)
    for handle in list(handles):
        known = any(handle is each for each in before.handles)
        if not known and handle.hook.id not in module._forward_hooks:
            handles.remove(handle)
    own = module.__dict__
    if own.get("forward") is not before.forward and _is_own(own["forward"]):
        if before.forward is None:
            del own["forward"]
        else:
            own["forward"] = before.forward


def _is_own(function: Any) -> bool:
    """Whether a hook is this package's, also inside the closure TransformerLens makes of it."""
    inside = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return any(
        isinstance(each, FunctionType) and str(each.__module__).startswith(PACKAGE)
        for each in (function, *inside)
    )
