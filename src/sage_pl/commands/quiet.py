"""Messages of libraries that tell the user nothing."""

from __future__ import annotations

import logging
import warnings

_LOGGERS = ("pytorch_lightning", "lightning", "lightning_fabric", "lightning.pytorch", "sentence_transformers")
_WARNINGS = (
    ".*does not have many workers.*",
    ".*`max_epochs` was not set.*",
    ".*directory .* exists and is not empty.*",
    ".*LeafSpec.*",
    ".*callbacks used to create the checkpoint.*",
    ".*dirpath has changed.*",
    ".*smaller than the logging interval.*",
    ".*You have overridden `.*batch.*` in `LightningModule`.*",  # the model's own; the data module has none
)


def quiet_libraries() -> None:
    """Leave the terminal to the project's own lines."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in _WARNINGS:
        warnings.filterwarnings("ignore", text)
