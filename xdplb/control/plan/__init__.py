"""From what was asked, seen and held to the steps that make the maps right. Pure."""
