"""The errors of this package: one base class, and a subclass for each kind of fault.

Every message says what was expected, what was given, and what to do about it.
"""

from __future__ import annotations


class DFAError(Exception):
    """Base class of every error that this package raises on purpose."""


class ConfigError(DFAError, ValueError):
    """A setting, name or combination of settings that makes no sense."""


class DataError(DFAError, ValueError):
    """Prompt pairs that cannot be used: unequal lengths, multi-token answers, no pairs at all."""


class ModelError(DFAError, ValueError):
    """A model that cannot be loaded, or that does not expose heads and MLPs as nodes."""


class HookError(DFAError, RuntimeError):
    """A hook that did not fire, or fired with an unexpected shape."""


class ScoresError(DFAError, ValueError):
    """Node scores that are not finite, or that belong to another model's nodes."""


class NumericsError(DFAError, ArithmeticError):
    """A computation whose result is undefined: NaN, infinity, or m(clean) equal to m(corrupt)."""


class FileFormatError(DFAError, ValueError):
    """A file that is truncated, altered, or not of the expected format."""


class FileWriteError(DFAError, OSError):
    """A file that cannot be written: full disk, no permission, a folder with that name."""


class HubError(DFAError, OSError):
    """A repository on the Hugging Face hub that cannot be read or written."""


class OutOfMemoryError(DFAError, MemoryError):
    """Not even a single pair fits in memory."""


class AlignmentWarning(UserWarning):
    """An alignment trained for so few steps that its W still depends mostly on its start."""
