"""What listens, over `dimse`: the embedded archive."""
