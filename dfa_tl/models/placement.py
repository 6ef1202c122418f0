"""The device and the precision of a model's weights.

`dtype="auto"` is bfloat16 where every device computes in it, and float32 elsewhere:

    GPU    compute capability 8.0 or more, or ROCm
    CPU    AMX (`amx_bf16`) or `avx512_bf16`; others emulate bfloat16, and are slower with it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformer_lens.utilities.devices import get_device

from dfa_tl.errors import ConfigError
from dfa_tl.settings import AUTO
from dfa_tl.settings import DTYPES as NAMES

DTYPES = {name: getattr(torch, name) for name in NAMES}
CPU_BFLOAT16 = ("amx_bf16", "avx512_bf16")
SPREAD = ("auto", "balanced", "balanced_low_0", "sequential")

DeviceMap = str | Mapping[str, int | str | torch.device]


@dataclass(frozen=True)
class Placement:
    """Device and precision of the weights of a model to load.

    Attributes:
        dtype: A floating-point type, its name, or `auto`, which is replaced by the type that it
            stands for on these devices (default float32).
        device: One device for all weights (default: a GPU when there is one, else the CPU).
        device_map: Several devices: `auto`, `balanced`, `balanced_low_0` or `sequential`, or a
            device for each of the model's modules.

    Raises:
        ConfigError: the type or device does not exist here, or both a device and a map are given.
    """

    dtype: torch.dtype | str | None = None
    device: torch.device | str | int | None = None
    device_map: DeviceMap | None = None

    def __post_init__(self) -> None:
        if self.device is not None and self.device_map is not None:
            raise ConfigError("give either device or device_map: each says where the weights go")
        if self.device is not None:
            object.__setattr__(self, "device", present_device(self.device))
        if isinstance(self.device_map, str) and self.device_map not in SPREAD:
            raise ConfigError(
                f"device_map={self.device_map!r}: choose one of {', '.join(SPREAD)}, or give a "
                "device for each of the model's modules; one device for all is device="
            )
        if self.device_map is not None and not isinstance(self.device_map, str):
            object.__setattr__(self, "device_map", _checked_map(self.device_map))
        object.__setattr__(self, "dtype", self._chosen_dtype())

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Where weights may go: the first is the only one, unless there is a device map."""
        if isinstance(self.device_map, Mapping):
            return tuple(map(torch.device, dict.fromkeys(self.device_map.values())))
        if self.device_map is not None and torch.cuda.is_available():
            return tuple(torch.device("cuda", i) for i in range(torch.cuda.device_count()))
        return (torch.device(get_device() if self.device is None else self.device),)

    def _chosen_dtype(self) -> torch.dtype:
        if self.dtype is None:
            return torch.float32
        if isinstance(self.dtype, str) and self.dtype == AUTO:
            fast = all(map(computes_in_bfloat16, self.devices))
            return torch.bfloat16 if fast else torch.float32
        found = DTYPES.get(self.dtype) if isinstance(self.dtype, str) else self.dtype
        if not isinstance(found, torch.dtype) or found not in DTYPES.values():
            raise ConfigError(f"dtype={self.dtype!r}: choose one of {', '.join((*DTYPES, AUTO))}")
        return found

    def options(self) -> dict[str, object]:
        """As keyword arguments of `TransformerBridge.boot_transformers`."""
        if self.device_map is not None:
            return {"dtype": self.dtype, "device_map": self.device_map}
        return {"dtype": self.dtype, "device": None if self.device is None else str(self.device)}


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    # An older PyTorch does not say what the CPU can do.
    known = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and any(known.get(name, False) for name in CPU_BFLOAT16)


def dtype_name(dtype: torch.dtype | str, device: str | None = None) -> str:
    """The name of a precision; of the one chosen for the device where it is `auto`.

    Raises:
        ConfigError: no such type, or `auto` for a device that is not here.
    """
    chosen = Placement(dtype, device if isinstance(dtype, str) and dtype == AUTO else None).dtype
    return next(name for name, each in DTYPES.items() if each == chosen)


def present_device(device: torch.device | str | int) -> torch.device:
    """The device, if a tensor can be put there. Raises `ConfigError` otherwise."""
    try:
        found = torch.device(device)
        if found.type != "meta":
            torch.empty(1, device=found)
            return found
        reason = "tensors there hold no numbers"
    # PyTorch has a different exception for each way in which a device can be absent.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        here.append("mps")
    raise ConfigError(f"device {device!r} cannot be used ({reason}); here are: {', '.join(here)}")


def _checked_map(device_map: Mapping[str, int | str | torch.device]) -> dict[str, str]:
    if not isinstance(device_map, Mapping) or not device_map:
        raise ConfigError(
            f"device_map={device_map!r}: expected one of {', '.join(SPREAD)}, or a device for each "
            "of the model's modules, such as {'model.embed_tokens': 0, ...}"
        )
    if "disk" in device_map.values():
        raise ConfigError(
            "device_map puts weights on the disk; attribution needs them in memory: use a smaller "
            "dtype, or more devices"
        )
    return {module: str(present_device(device)) for module, device in device_map.items()}
