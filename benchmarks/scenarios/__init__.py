"""What the processes of a run do: one module per scenario, each with `run(job, parent, **options)`."""
