"""The package's errors. This module imports nothing, so that a command can answer before torch is loaded."""

from __future__ import annotations


class UserError(Exception):
    """Base of the package's errors: a mistake that the user can mend, and the message says how.

    A command shows it as one line. Every other error is a bug and keeps its traceback.
    """


class SettingError(UserError, ValueError):
    """A setting or its data cannot be used; the message names what was given and what is accepted."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder is absent; the message names it and the command that makes it."""
