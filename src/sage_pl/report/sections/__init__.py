"""The sections of a page: each module makes one from a subject, or raises MissingError with the reason."""
