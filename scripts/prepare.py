"""Prepare a data set's artifacts alone: ``python scripts/prepare.py dataset=beauty``."""

from sage_pl.commands.door import open_door

if __name__ == "__main__":
    open_door("prepare", __file__)
