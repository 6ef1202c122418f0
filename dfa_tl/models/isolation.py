"""Run a model without changing it.

Inside `unchanged(module)` every submodule is in eval mode and no parameter requires a gradient.
Afterwards, also after an exception or Ctrl-C, every flag is as it was and no hook of this package
remains. Gradients are enabled, and inference mode, autocast and a default device are off, whatever
the caller's context: numbers are computed in the model's own dtype. One thread at a time works on a
model; others wait.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from dfa_tl.errors import ModelError
from dfa_tl.models.state import PACKAGE, ModelState

LIBRARIES = (PACKAGE, "transformer_lens.", "transformers.", "accelerate.")
"""Whose hooks on modules are parts of a model."""


class _Turn:
    """Whose turn it is on one model.

    Attributes:
        lock: Held by the thread that works on the model.
        thread: The thread inside `unchanged`.
        state: What it will put back; a call inside a call has nothing to add to it.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.thread: int | None = None
        self.state: ModelState | None = None


_turns: WeakKeyDictionary[nn.Module, _Turn] = WeakKeyDictionary()
_turns_lock = threading.Lock()


def _turn_of(module: nn.Module) -> _Turn:
    with _turns_lock:
        return _turns.setdefault(module, _Turn())


def _after_fork() -> None:
    """In a child process, the threads that held the locks no longer exist."""
    global _turns_lock
    _turns_lock = threading.Lock()
    for turn in list(_turns.values()):
        if turn.thread != threading.get_ident():
            turn.lock = threading.RLock()
            if turn.state is not None:
                turn.state.put_back()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def one_at_a_time(module: nn.Module) -> Iterator[None]:
    """Wait for this thread's turn on a model; inside, the caller's default device is off."""
    with _turn_of(module).lock, _without_default_device():
        yield


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Eval mode and frozen parameters inside; everything restored outside.

    Raises:
        ModelError: weights that were made in inference mode.
    """
    turn = _turn_of(module)
    with turn.lock, torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        modules = _all_modules(module)
        stack.enter_context(_without_default_device())
        stack.enter_context(_without_autocast(modules))
        if turn.state is not None and turn.state.noted:
            yield
            return
        _check_no_inference_tensors(modules)
        state = ModelState(modules)
        try:
            try:
                turn.thread, turn.state = threading.get_ident(), state
                state.freeze()
                yield
            finally:
                state.put_back()
        finally:  # Ctrl-C may have come on the way to the line above
            state.put_back()


def _all_modules(module: nn.Module) -> list[nn.Module]:
    # A TransformerBridge keeps the Hugging Face model outside its own module tree.
    wrapped = getattr(module, "original_model", None)
    roots = [module, *([wrapped] if isinstance(wrapped, nn.Module) else [])]
    return list({id(m): m for root in roots for m in root.modules()}.values())


def _check_no_inference_tensors(modules: list[nn.Module]) -> None:
    for m in modules:
        for name, tensor in (*m.named_parameters(recurse=False), *m.named_buffers(recurse=False)):
            if tensor.is_inference():
                raise ModelError(
                    f"{type(m).__name__}.{name} was made inside torch.inference_mode(), so no "
                    "gradient can pass it: build or load the model outside of it"
                )


@contextmanager
def _without_default_device() -> Iterator[None]:
    if torch.get_default_device().type == "cpu":
        yield
        return
    with torch.device("cpu"):
        yield


@contextmanager
def _without_autocast(modules: list[nn.Module]) -> Iterator[None]:
    kinds = {p.device.type for m in modules for p in m.parameters(recurse=False)} | {"cpu"}
    with ExitStack() as stack:
        for kind in sorted(filter(torch.amp.is_autocast_available, kinds)):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def has_user_hooks(tl: nn.Module) -> bool:
    """Whether a module has a hook that is neither this package's nor its library's."""
    return any(
        getattr(module, "fwd_hooks", ())
        or getattr(module, "bwd_hooks", ())
        or any(
            not str(getattr(hook, "__module__", "")).startswith(LIBRARIES)
            for hooks in (
                module._forward_hooks,
                module._forward_pre_hooks,
                module._backward_hooks,
                module._backward_pre_hooks,
            )
            for hook in hooks.values()
        )
        for module in _all_modules(tl)
    )


@contextmanager
def without_user_hooks(tl: nn.Module) -> Iterator[None]:
    """Inside, the user's hooks on hook points do not run."""
    points: list[Any] = [module for module in tl.modules() if hasattr(module, "fwd_hooks")]
    before = [(point, point._forward_hooks, point.fwd_hooks) for point in points]
    try:
        for point, hooks, handles in before:
            permanent = [handle for handle in handles if handle.is_permanent]
            keys = {handle.hook.id for handle in permanent}
            point._forward_hooks = OrderedDict((k, h) for k, h in hooks.items() if k in keys)
            point.fwd_hooks = permanent
        yield
    finally:
        for point, hooks, handles in before:
            point._forward_hooks, point.fwd_hooks = hooks, handles
