"""Write report.html: ``python scripts/report.py run=FOLDER`` or ``python scripts/report.py comparison=FOLDER``."""

from sage_pl.commands.door import open_door

if __name__ == "__main__":
    open_door("report", __file__)
