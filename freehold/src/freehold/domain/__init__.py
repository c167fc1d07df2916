"""What things are and how they may change: values, errors and pure decisions. No I/O, no clock, no randomness."""
