"""The commands of `bridge` that prove behaviour: check, compare, record, replay."""
