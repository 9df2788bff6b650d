"""The harness behind `bench/run`."""
