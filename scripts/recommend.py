"""What a trained model recommends: ``python scripts/recommend.py checkpoint=FILE users=all k=100``."""

from sage_pl.commands.door import open_door

if __name__ == "__main__":
    open_door("recommend", __file__)
