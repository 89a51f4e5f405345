"""A million runs on a fleet of hosts that come and go, simulated at the costs that were measured."""
