"""``python -m sage_pl COMMAND``: the same doors as ``sage-pl COMMAND``."""

from sage_pl.commands.door import main

if __name__ == "__main__":
    main()
