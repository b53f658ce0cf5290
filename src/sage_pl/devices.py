"""Where to compute."""

from __future__ import annotations


def chosen(device: str | None) -> str:
    """The device asked for; an accelerator, if there is one, where none is."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")
