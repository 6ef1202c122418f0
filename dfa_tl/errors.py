"""The errors of this package: one base class, and a kind for each thing that can be wrong.

Every message says what was expected, what came, and what to do about it.
"""

from __future__ import annotations


class DFAError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(DFAError, ValueError):
    """A setting, name or combination of settings that makes no sense."""


class DataError(DFAError, ValueError):
    """Prompt pairs that cannot be used: unequal lengths, multi-token answers, no pairs at all."""


class ModelError(DFAError, ValueError):
    """A model that cannot be loaded, or that does not expose heads and MLPs as nodes."""


class HookError(DFAError, RuntimeError):
    """A hook that was asked for and did not fire, or fired with an unexpected shape."""


class ScoresError(DFAError, ValueError):
    """Node scores that are not finite, or that belong to another model's nodes."""


class NumericsError(DFAError, ArithmeticError):
    """A computation whose result is undefined: NaN, infinity, or m(clean) equal to m(corrupt)."""


class FileFormatError(DFAError, ValueError):
    """A file that is truncated, altered, or not of the expected format."""


class FileWriteError(DFAError, OSError):
    """A file that cannot be written: disk full, no permission, a folder of that name."""


class HubError(DFAError, OSError):
    """A repository on the Hugging Face hub that cannot be read or written."""


class OutOfMemoryError(DFAError, MemoryError):
    """Not even a single pair fits in memory."""


class AlignmentWarning(UserWarning):
    """An alignment that was trained so briefly that its W is hardly what the data made it."""
