"""gapless beside what a user would pick instead: `python -m benchmarks`. See README.md."""
