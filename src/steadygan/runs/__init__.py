"""A run in its folder: it is started, resumed, logged, scored and diagnosed here."""
