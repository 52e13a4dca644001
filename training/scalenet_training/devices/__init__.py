"""Where a command computes: the cluster, the replicas."""
