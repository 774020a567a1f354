"""A run in its folder: started, resumed, logged, scored and diagnosed while it trains."""
