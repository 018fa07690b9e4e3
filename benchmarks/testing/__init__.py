"""The parts of bridge that tests are made with."""
