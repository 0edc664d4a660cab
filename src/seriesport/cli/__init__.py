"""What the commands of `seriesport` do, a module for each kind."""
