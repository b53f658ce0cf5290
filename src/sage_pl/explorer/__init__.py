"""A page in the browser: what trained models recommend, to whom, and why."""
