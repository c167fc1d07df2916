"""Ways to run a container, behind one Protocol."""
