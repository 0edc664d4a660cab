"""The steps of the workflow over one shard, and the verdict over all of them."""
