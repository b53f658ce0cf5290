"""The package's errors, and those of the machine in words. A command answers with them before torch is loaded."""

from __future__ import annotations

import errno
import re


class UserError(Exception):
    """Base of the package's errors: a mistake that the user can mend, and the message says how.

    A command shows it as one line. Every other error is a bug and keeps its traceback.

    Attributes:
        causes: each a group of parts of the configuration, by dotted paths, that alone leads to the error; none where unknown.
    """

    causes: tuple[tuple[str, ...], ...] = ()


class SettingError(UserError, ValueError):
    """A setting or its data cannot be used; the message names what was given and what is accepted."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder is absent; the message names it and the command that makes it."""


_SYSTEM = {
    errno.ENOSPC: "the disk is full; free some space, or choose another folder, and run the command again",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another folder, and run the command again",
    errno.EFBIG: "the file exceeds the largest size allowed; raise it (ulimit -f) or choose another file system",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission was denied; change the permissions (chmod) or choose another folder",
    errno.EPERM: "the operation is not permitted; change the permissions (chattr, chmod) or choose another folder",
    errno.EIO: "the disk reports an input/output error; check it, or choose another folder",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; raise the system's limit or end other programs",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose a shorter one",
    errno.ENOTDIR: "a part of the path is a file and no folder; choose another folder",
    errno.ENOMEM: "there is not enough memory; free some, raise the limits (ulimit -v, ulimit -u), or lower data.batch_size",
}
_OF_RUST = re.compile(r"\(os error (\d+)\)")  # polars and safetensors
_OF_NUMPY = re.compile(r"\d+ requested and \d+ written")
_OF_MEMORY = re.compile(
    r"can't allocate memory|out of memory|Cannot allocate memory"  # torch
    r"|can't start new thread|could not spawn threads|failed to map segment"  # Python, polars, the loader of libraries
)


def machine_problem(error: BaseException) -> str | None:
    """One sentence for an error of the machine: a full or read-only disk, a limit, a lack of memory; None for any other.

    The path is that of the error, or of the file that was being written (:func:`sage_pl.artifacts.files.whole_file`).
    """
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    for one in chain:
        if number := _number_of(one):
            notes = [note for other in chain for note in getattr(other, "__notes__", ()) if "while writing" in note]
            name = getattr(one, "filename", None)
            place = str(name) if name is not None else notes[0].removeprefix("while writing ") if notes else ""
            reason = _SYSTEM[number]
            return f"{place}: {reason}" if place else reason
    return None


def _memory_is_limited() -> bool:
    """Whether this process may not use all memory; libraries that then fail do not always say why."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _number_of(error: BaseException) -> int | None:
    """The number of the system's error behind an exception, if it is one of those above."""
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        return error.errno
    text = str(error)
    if isinstance(error, OSError) and _OF_NUMPY.fullmatch(text):
        return errno.ENOSPC
    if isinstance(error, SystemError) and "without exception set" in text and _memory_is_limited():
        return errno.ENOMEM
    if isinstance(error, MemoryError) or (not isinstance(error, OSError) and _OF_MEMORY.search(text)):
        return errno.ENOMEM
    match = _OF_RUST.search(text)
    return int(match[1]) if match and int(match[1]) in _SYSTEM else None
