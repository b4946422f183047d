"""scripts/demo: xdplb with real traffic, in its own network namespaces."""
