"""What `bridge serve` does: find an app from a target string, wrap it if needed, run it on a server."""
