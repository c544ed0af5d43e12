"""Named weights: where a model that a user names is, and what family it is of."""
