"""What was asked and what this host gave it: the desired state, ids and generations, and where they are kept."""
