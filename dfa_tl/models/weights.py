"""Checks on loaded weights: complete, on the devices asked for, and finite.

Transformers only warns about parameters without weights, and leaves them random.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from dfa_tl.errors import ConfigError, ModelError


class StrictWeightLoader:
    """A Transformers model class that refuses to load a model without all of its weights."""

    def __init__(self, base: Any, fix_hint: str) -> None:
        """Load with the class `base`; `fix_hint` says how to get weights that are missing."""
        self.base = base
        self.fix_hint = fix_hint

    def from_pretrained(self, folder: str, **options: Any) -> nn.Module:
        """Load as the class itself does.

        Raises:
            ModelError: a parameter has no weights, or weights of another shape.
            ConfigError: the device map does not fit the model's modules.
        """
        model, report = self.base.from_pretrained(folder, output_loading_info=True, **options)
        source = Path(folder, options.get("gguf_file", ""))
        unset = [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]
        if unset:
            raise ModelError(
                f"the weights in {source} do not fit its settings: {len(unset)} parameters of "
                f"the model are missing or of another shape ({sorted(unset)[0]}); {self.fix_hint}"
            )
        placed = options.get("device_map")
        if isinstance(placed, dict):
            _check_places(model, placed)
        return model


def _check_places(model: nn.Module, placed: dict[str, str]) -> None:
    names = {name for name, _ in model.named_modules()}
    unknown = [name for name in placed if name not in names]
    left_out = [
        name
        for name, _ in model.named_parameters()
        if not any(name.startswith(f"{module}." if module else "") for module in placed)
    ]
    parts = ", ".join(name for name, _ in model.named_children())
    if unknown:
        raise ConfigError(
            f"device_map names {unknown[0]!r}, and the model has no such module: its parts are "
            f"{parts}, and their own parts, such as {sorted(names)[len(names) // 2]}"
        )
    if left_out:
        raise ConfigError(
            f"device_map has no device for {left_out[0]}: give one to each of {parts}, or to all "
            "of their parts"
        )


def refuse_broken_weights(bridge: nn.Module, name: str, fix_hint: str) -> None:
    """Raise `ModelError` if a weight is NaN or infinite."""
    for parameter_name, parameter in bridge.named_parameters():
        if not parameter.is_floating_point() or parameter.numel() == 0:
            continue
        least, most = parameter.detach().aminmax()
        if not (least.isfinite() and most.isfinite()):
            where = parameter_name.replace("_original_component.", "")
            raise ModelError(
                f"{name!r} has weights that are NaN or infinite, first {where}; {fix_hint}"
            )
