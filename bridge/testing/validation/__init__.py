"""Validators: what an app and its server owe each other, checked while they talk."""
