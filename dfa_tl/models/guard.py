"""Run a model without changing it.

Inside `unchanged(module)` every submodule is in eval mode and no parameter requires a gradient;
on the way out, also after an exception or Ctrl-C, every flag is as it was. Gradients are enabled
and inference mode is off, whatever the caller's context. One thread at a time works on a model:
others wait their turn.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import nn

from dfa_tl.errors import ModelError

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()  # type: ignore[type-arg]
_locks_lock = threading.Lock()


def _lock_of(module: nn.Module) -> threading.RLock:  # type: ignore[valid-type]
    with _locks_lock:
        return _locks.setdefault(module, threading.RLock())


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
                    "gradient can pass it: build or load the model outside of it. Calls may stand "
                    "inside"
                )


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Eval mode and frozen parameters inside; every flag restored outside.

    Raises:
        ModelError: weights that were made in inference mode.
    """
    with _lock_of(module), torch.inference_mode(False), torch.enable_grad():
        modules = _all_modules(module)
        _check_no_inference_tensors(modules)
        training = [m for m in modules if m.training]
        trainable = list(
            {
                id(p): p for m in modules for p in m.parameters(recurse=False) if p.requires_grad
            }.values()
        )
        try:
            for m in training:
                m.training = False
            for p in trainable:
                p.requires_grad_(False)
            yield
        finally:
            for m in training:
                m.training = True
            for p in trainable:
                p.requires_grad_(True)
