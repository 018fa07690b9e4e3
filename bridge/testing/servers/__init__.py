"""Real servers beside a test: in threads of its process, or a `bridge serve` process."""
