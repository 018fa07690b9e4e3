"""Recording: exchanges written down with secrets removed, and sent again."""
