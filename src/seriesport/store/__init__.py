"""What lies on disk: bundles, staging, ZIP files, leases, seals, and writing files whole."""
