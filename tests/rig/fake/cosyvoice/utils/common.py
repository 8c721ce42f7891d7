def set_all_random_seed(seed):
    """There is no chance in what pretends."""
