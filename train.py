"""Train and evaluate one recommender: ``python train.py [group=choice] [key=value]``; ``--help`` lists the choices."""

from sage_pl.commands.door import open_door

if __name__ == "__main__":
    open_door("train", __file__)
