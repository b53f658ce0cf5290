"""Steps that turn items into vectors, each called ``embed``: one row per item id, rows 0 and N + 1 zero."""
