"""What users are told: views of what was asked and of what is so. Nothing here changes anything."""
