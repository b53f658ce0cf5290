"""Fetch a public data set: ``python scripts/download.py NAME [--yes]``; without a name, what there is."""

from sage_pl.commands.door import open_door

if __name__ == "__main__":
    open_door("data", __file__)
