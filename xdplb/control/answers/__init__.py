"""Answers to users: views of the desired state and of the status. Nothing here changes anything."""
