"""Write the reference's ``handled/`` folder: ``python scripts/export_handled.py dataset=beauty folder=DIR``."""

from sage_pl.commands.door import open_door

if __name__ == "__main__":
    open_door("export_handled", __file__)
