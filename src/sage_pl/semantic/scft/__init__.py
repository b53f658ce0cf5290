"""Contrastive tuning of a text encoder on attribute-dropped views of the items' texts (LLMEmb, SCFT)."""
