"""What a user is interested in, as a few phrases: histories grouped, groups described, descriptions embedded."""
