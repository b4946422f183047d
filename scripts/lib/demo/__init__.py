"""scripts/demo: xdplb at work on real traffic, in network namespaces of its own."""
