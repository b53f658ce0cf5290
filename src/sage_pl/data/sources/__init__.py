"""Data sources: raw files in, interactions and item texts out."""
