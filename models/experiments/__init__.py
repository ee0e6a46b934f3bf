"""The lecture's arguments as experiments, small enough for a laptop. Each has ``run(...)``, which gives results and a picture."""
