"""What carries a job: inline, processes, cluster."""
