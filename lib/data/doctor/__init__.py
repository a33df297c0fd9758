"""What tracking/doctor.py checks before a run: the environment, and every sequence of the data sets."""
