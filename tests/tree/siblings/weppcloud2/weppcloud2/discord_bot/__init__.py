"""Messages to the operators' chat."""
