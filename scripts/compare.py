"""Compare finished runs: ``python scripts/compare.py runs='outputs/**' by=method baseline=plain``."""

from sage_pl.commands.door import open_door

if __name__ == "__main__":
    open_door("compare", __file__)
