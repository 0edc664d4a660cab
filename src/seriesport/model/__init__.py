"""Values that all share: addresses, instances, series and receipts. No I/O."""
