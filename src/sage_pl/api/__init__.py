"""The package in Python: ``import sage_pl``, then :func:`fit`, :func:`load`, :func:`compare`."""

from sage_pl.api.comparing import Compared, compare
from sage_pl.api.fitting import fit
from sage_pl.api.model import Model
from sage_pl.api.opening import load

__all__ = ["Compared", "Model", "compare", "fit", "load"]
