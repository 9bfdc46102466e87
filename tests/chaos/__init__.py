"""Random faults on a running system, and a verdict on what its consumers saw. `make chaos`."""
