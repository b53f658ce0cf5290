"""One page for people: a run or a comparison as a self-contained HTML file (docs/report.md)."""
