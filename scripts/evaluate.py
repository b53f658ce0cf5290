"""Evaluate a checkpoint alone: ``python scripts/evaluate.py checkpoint=FILE``."""

from sage_pl.commands.door import open_door

if __name__ == "__main__":
    open_door("evaluate", __file__)
