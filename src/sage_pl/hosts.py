"""The hosts that this process may contact.

What a user composes may name any service. A stored configuration, which others may have written, may name those alone that
the command line allows: :func:`only`. The limit holds for every connection that Python opens, by an audit hook, and is
asked for by name where a key or a text would be sent.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from sage_pl.errors import UserError

HUB = "huggingface.co"
_limits: list[frozenset[str]] = []  # those that hold now, of any thread, each for the whole process
_hooked = False


class HostError(UserError, RuntimeError):
    """A stored configuration names a host that the command line does not allow."""


@contextmanager
def only(allowed: str | Iterable[str]) -> Iterator[None]:
    """Within it, hosts beyond ``allowed`` are refused, in every thread; of several limits each holds until its own end.

    Args:
        allowed: names of hosts, such as ``api.example.com``.
    """
    global _hooked
    if not _hooked:
        sys.addaudithook(_check_connection)
        _hooked = True
    names = [allowed] if isinstance(allowed, str) else [str(name) for name in allowed]
    proxies = [host_of(url) for url in getproxies().values()] if names else []
    limit = frozenset(name.lower() for name in (*names, *proxies))
    _limits.append(limit)
    try:
        yield
    finally:
        _limits.remove(limit)


def may_contact(host: str) -> bool:
    """Whether a host is allowed; those below an allowed one are too (``cdn.example.com`` below ``example.com``)."""
    name = host.lower().rstrip(".")
    return all(any(name == one or name.endswith(f".{one}") for one in limit) for limit in tuple(_limits))


def require(url: str) -> None:
    """Refuse an address, before a key is read or a text is sent.

    Args:
        url: of a service, or a host's name.

    Raises:
        HostError: naming the host and the switch.
    """
    host = host_of(url)
    if not may_contact(host):
        raise HostError(
            f"the stored configuration asks for {host}, and a stored configuration contacts no host by itself; if you trust "
            f"it with your texts and keys, add allow_host={host}"
        )


def host_of(url: str) -> str:
    """The host in an address, without user, password, port and path."""
    return urlsplit(url if "//" in url else f"//{url}").hostname or url


def _check_connection(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: a name is refused where it is looked up, and an address too where no host is allowed."""
    if not _limits:
        return
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
        if all(tuple(_limits)) and _is_address(host):
            return  # of a name that was looked up
    else:
        return
    if host:
        name = host.decode() if isinstance(host, bytes) else str(host)
        require(f"[{name}]" if ":" in name else name)


def _is_address(host: Any) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
