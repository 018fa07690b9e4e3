"""Pure translation between the interfaces: data in, data out. No I/O, no threads, no clock."""
