"""What a page consists of: each module makes one section from a subject, or says in a sentence why it cannot."""
