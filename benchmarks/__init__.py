"""Speed and memory of gapless beside Litestar's backends: `python -m benchmarks`. See README.md."""
