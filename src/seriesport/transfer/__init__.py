"""What a user calls on addresses: find, fetch, copy and verify. Nothing here prints."""
