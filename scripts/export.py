"""Write a checkpoint as a folder to serve from: ``python scripts/export.py checkpoint=FILE folder=DIR``."""

from sage_pl.commands.door import open_door

if __name__ == "__main__":
    open_door("export", __file__)
